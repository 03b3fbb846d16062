internal import ModuleKit

/// What is committed. A value: a snapshot is a copy.
struct MemoryData: Sendable {
    typealias Store = ExactString

    struct Reference: Sendable {
        var row: ArchiveRow
        /// The order in which bodies came, and the place in its body's list: what is as old goes in this order.
        var body: Int
        var place: Int
    }

    struct Account: Sendable {
        var created: Timestamp
        var owner: OwnerID
        var credentials: [[UInt8]]
    }

    var maps: [OwnerID: [Store: [ExactString: [UInt8]]]] = [:]
    /// Ascending by id.
    var spools: [OwnerID: [Store: [SpoolRow]]] = [:]
    /// Ascending by id.
    var archives: [OwnerID: [Store: [Reference]]] = [:]
    var accounts: [ExactString: [ExactString: Account]] = [:]
    var names: [OwnerID: (host: ExactString, local: ExactString)] = [:]
    /// Owners that had an account.
    var removed: Set<OwnerID> = []
    var lastOwner: Int64 = 0
    var lastBody = 0

    // MARK: Batches

    /// Applies all of it or, with an error, nothing.
    mutating func apply(_ batch: [Mutation]) throws(StorageError) -> [MutationOutcome] {
        let backup = batch.count > 1 && batch.contains { $0.canFail } ? Backup(self, batch) : nil
        var outcomes: [MutationOutcome] = []
        outcomes.reserveCapacity(batch.count)
        do throws(StorageError) {
            for mutation in batch { outcomes.append(try apply(mutation)) }
            return outcomes
        } catch {
            backup?.restore(&self)
            throw error
        }
    }

    /// What a batch may change, as it was.
    private struct Backup {
        var whole: MemoryData?
        var owners:
            [OwnerID: (
                maps: [Store: [ExactString: [UInt8]]]?, spools: [Store: [SpoolRow]]?,
                archives: [Store: [Reference]]?
            )] = [:]

        init(_ data: MemoryData, _ batch: [Mutation]) {
            for mutation in batch {
                guard let touched = mutation.owners else {
                    whole = data
                    return
                }
                for owner in touched { owners[owner] = (data.maps[owner], data.spools[owner], data.archives[owner]) }
            }
        }

        func restore(_ data: inout MemoryData) {
            if let whole {
                data = whole
                return
            }
            for (owner, saved) in owners {
                data.maps[owner] = saved.maps
                data.spools[owner] = saved.spools
                data.archives[owner] = saved.archives
            }
        }
    }

    private mutating func apply(_ mutation: Mutation) throws(StorageError) -> MutationOutcome {
        switch mutation {
        case .put(let store, let owner, let key, let value):
            guard !removed.contains(owner) else { throw .noSuchOwner }
            maps[owner, default: [:]][Store(store.rawValue), default: [:]][ExactString(key)] = value
            return .done
        case .delete(let store, let owner, let key):
            let old = maps[owner]?[Store(store.rawValue)]?.removeValue(forKey: ExactString(key))
            return .removed(old == nil ? 0 : 1)
        case .deleteAll(let store, let owner):
            return .removed(maps[owner]?.removeValue(forKey: Store(store.rawValue))?.count ?? 0)
        case .spool(let store, let owner, let row, let limit):
            guard !removed.contains(owner) else { throw .noSuchOwner }
            return try spools[owner, default: [:]][Store(store.rawValue), default: []].insert(row, for: owner, limit)
        case .unspool(let store, let owner, let ids):
            return .removed(spools[owner]?[Store(store.rawValue)]?.remove(ids) ?? 0)
        case .unspoolAll(let store, let owner):
            return .removed(spools[owner]?.removeValue(forKey: Store(store.rawValue))?.count ?? 0)
        case .archive(let store, let references, let stamp, let stanza):
            return try archive(Store(store.rawValue), references, stamp, stanza)
        case .trimArchive(let store, let owner, let from, let before, let keep, let limit):
            return trim(Store(store.rawValue), owner, from..<max(from, before), keep, limit)
        case .createAccount(let host, let local, let created, let credentials):
            return createAccount(ExactString(host), ExactString(local), created, credentials)
        case .setCredentials(let owner, let credentials):
            if let name = names[owner] { accounts[name.host]?[name.local]?.credentials = credentials }
            return .done
        case .replaceCredentials(let owner, let old, let new):
            if let name = names[owner], accounts[name.host]?[name.local]?.credentials == old {
                accounts[name.host]?[name.local]?.credentials = new
            }
            return .done
        case .removeAccount(let owner):
            if let name = names.removeValue(forKey: owner) {
                removed.insert(owner)
                accounts[name.host]?[name.local] = nil
            }
            maps[owner] = nil
            spools[owner] = nil
            archives[owner] = nil
            return .done
        }
    }

    // MARK: Archive

    private mutating func archive(
        _ store: Store, _ references: [(owner: OwnerID, id: Int64, with: String)], _ stamp: Timestamp,
        _ stanza: [UInt8]
    ) throws(StorageError) -> MutationOutcome {
        guard references.isEmpty || references.contains(where: { !removed.contains($0.owner) }) else {
            throw .noSuchOwner
        }
        let body = lastBody + 1
        var added: [(owner: OwnerID, id: Int64)] = []
        for (place, reference) in references.enumerated() where !removed.contains(reference.owner) {
            let row = ArchiveRow(id: reference.id, stamp: stamp, with: reference.with, stanza: stanza)
            let result = archives[reference.owner, default: [:]][store, default: []]
                .insert(Reference(row: row, body: body, place: place))
            switch result {
            case .inserted:
                added.append((reference.owner, reference.id))
            case .same:
                break
            case .other:
                for (owner, id) in added { archives[owner]?[store]?.removeAll { $0.row.id == id } }
                throw .failed("archive id \(reference.id) of owner \(reference.owner) is used twice")
            }
        }
        if !added.isEmpty { lastBody = body }
        return .done
    }

    private mutating func trim(
        _ store: Store, _ owner: OwnerID, _ expired: Range<Timestamp>, _ keep: Int, _ limit: Int
    ) -> MutationOutcome {
        let rows = archives[owner]?[store] ?? []
        let oldest = rows.prefix(min(max(limit, 0), 10_000))
        let old = oldest.lastIndex { expired.contains($0.row.stamp) }.map { $0 + 1 } ?? 0
        let count = max(old, min(oldest.count, max(0, rows.count - max(0, keep))))
        if count > 0 { archives[owner]?[store]?.removeFirst(count) }
        return .removed(count)
    }

    // MARK: Accounts

    private mutating func createAccount(
        _ host: ExactString, _ local: ExactString, _ created: Timestamp, _ credentials: [[UInt8]]
    ) -> MutationOutcome {
        guard accounts[host]?[local] == nil else { return .exists }
        lastOwner += 1
        let owner = OwnerID(lastOwner)
        accounts[host, default: [:]][local] = Account(created: created, owner: owner, credentials: credentials)
        names[owner] = (host, local)
        return .owner(owner)
    }
}

private enum Insertion {
    case inserted
    /// The same row is there.
    case same
    /// The id is another row's.
    case other
}

/// A row in an array that is ascending by id.
private protocol Numbered {
    var number: Int64 { get }
    func isSame(_ other: Self) -> Bool
}

extension SpoolRow: Numbered {
    fileprivate var number: Int64 { id }
    fileprivate func isSame(_ other: SpoolRow) -> Bool { self == other }
}

extension MemoryData.Reference: Numbered {
    fileprivate var number: Int64 { row.id }
    fileprivate func isSame(_ other: MemoryData.Reference) -> Bool {
        row == other.row && ExactString(row.with) == ExactString(other.row.with)
    }
}

extension Array where Element: Numbered {
    /// The place of the first row with this id or a higher one.
    fileprivate func place(of id: Int64) -> Int {
        guard let last, last.number >= id else { return count }
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle].number < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    fileprivate mutating func insert(_ row: Element) -> Insertion {
        let place = place(of: row.number)
        guard place < count, self[place].number == row.number else {
            insert(row, at: place)
            return .inserted
        }
        return self[place].isSame(row) ? .same : .other
    }
}

extension [SpoolRow] {
    fileprivate mutating func insert(
        _ row: SpoolRow, for owner: OwnerID, _ limit: Int
    ) throws(StorageError) -> MutationOutcome {
        if count >= limit { return contains(row) ? .done : .full }
        guard insert(row) != .other else { throw .failed("spool id \(row.id) of owner \(owner) is used twice") }
        return .done
    }

    fileprivate mutating func remove(_ ids: [Int64]) -> Int {
        var removed = 0
        for id in ids {
            let place = place(of: id)
            guard place < count, self[place].id == id else { continue }
            remove(at: place)
            removed += 1
        }
        return removed
    }
}

extension Mutation {
    /// Whether it can spoil its batch.
    fileprivate var canFail: Bool {
        switch self {
        case .put, .spool, .archive: true
        default: false
        }
    }

    /// Whose maps, spools and archives it changes; nil: more than that.
    fileprivate var owners: [OwnerID]? {
        switch self {
        case .put(_, let owner, _, _), .delete(_, let owner, _), .deleteAll(_, let owner), .spool(_, let owner, _, _),
            .unspool(_, let owner, _), .unspoolAll(_, let owner):
            [owner]
        case .archive(_, let references, _, _):
            references.map(\.owner)
        case .trimArchive(_, let owner, _, _, _, _):
            [owner]
        case .createAccount, .setCredentials, .replaceCredentials, .removeAccount:
            nil
        }
    }
}
