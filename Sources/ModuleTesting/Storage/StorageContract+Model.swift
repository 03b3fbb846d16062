internal import ModuleKit

/// Random operations against a model that is too simple to be wrong.
extension StorageContract {
    static let modelChecks: [StorageCheck] = (1...8).map { seed in
        StorageCheck("random operations give what the model gives, seed \(seed)") { subject in
            var random = StorageRandom(seed: UInt64(seed))
            var model = StorageModel()
            let names = StorageModel.names
            let start: [Mutation] = names.map {
                .createAccount(host: "h", local: $0, created: Timestamp(milliseconds: 1), credentials: [])
            }
            try expect(try await subject.storage.submit(start), equals: model.apply(start) ?? [])
            var namesNobody = false
            var pending: [(Pending<[MutationOutcome]>, [MutationOutcome]?)] = []
            for step in 0..<300 {
                let batch = (0..<Int.random(in: 1...5, using: &random)).map { _ in
                    model.randomMutation(using: &random)
                }
                namesNobody = namesNobody || batch.contains(where: \.namesNobody)
                pending.append((subject.storage.begin(batch), model.apply(batch)))
                guard step % 5 == 4 else { continue }
                // A read does not wait for what names no owner; for everything else it must, so nobody waits here.
                if namesNobody { _ = await pending.last?.0.result }
                let expected = model.contents
                let owners = model.owners
                let found = try await subject.storage.read(owners) { snapshot throws(StorageError) in
                    try StorageModel.contents(of: snapshot, owners)
                }
                for (found, expected) in pending {
                    switch await found.result {
                    case .success(let outcomes): try expect(outcomes, equals: expected, "step \(step):")
                    case .failure(.failed), .failure(.noSuchOwner):
                        try expect(expected == nil, "a batch failed that should not")
                    case .failure(let error): throw error
                    }
                }
                pending.removeAll()
                namesNobody = false
                try expect(found, matches: expected, "step \(step)")
                if step % 100 == 99 {
                    try await subject.reopen()
                    let found = try await subject.storage.read(owners) { snapshot throws(StorageError) in
                        try StorageModel.contents(of: snapshot, owners)
                    }
                    try expect(found, matches: expected, "reopened at step \(step)")
                }
            }
        }
    }
}

extension StorageContract {
    /// - Throws: `ContractViolation` with the lines in which they differ.
    private static func expect(_ found: [String], matches expected: [String], _ text: String) throws {
        let missing = expected.filter { !found.contains($0) }
        let surplus = found.filter { !expected.contains($0) }
        try expect(found == expected, "\(text): missing \(missing), surplus \(surplus)")
    }
}

/// Numbers that are the same for the same seed (SplitMix64).
struct StorageRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

/// Everything in lists, searched from the front.
struct StorageModel {
    private static let stores: [StoreName] = ["a", "b"]
    private static let keys = ["k", "K", "é", "e\u{301}", "%"]
    static let names = ["romeo", "juliet", "ro%", "ro_", "nurse"]
    private static let peers = keys + names + names.map { $0 + "/r" }

    private struct MapRow { var store: StoreName, owner: OwnerID, key: [UInt8], value: [UInt8] }
    private struct Spooled { var store: StoreName, owner: OwnerID, row: SpoolRow }
    private struct Archived { var store: StoreName, owner: OwnerID, row: ArchiveRow, order: Int }

    private var map: [MapRow] = []
    private var spool: [Spooled] = []
    private var archive: [Archived] = []
    private var accounts: [AccountRecord] = []
    private var removed: [OwnerID] = []
    private var lastOwner: Int64 = 0
    /// Everybody who ever had an account.
    var owners: [OwnerID] { (1...max(1, lastOwner)).map { OwnerID($0) } }
    private var lastOrder = 0

    // MARK: Operations

    mutating func randomMutation(using random: inout StorageRandom) -> Mutation {
        let store = Self.stores.randomElement(using: &random)!
        // Rather the later ones: the others are mostly removed.
        let owner = owners.suffix(5).randomElement(using: &random)!
        let key = Self.keys.randomElement(using: &random)!
        let number = Int64.random(in: 1...30, using: &random)
        let stamp = Timestamp(milliseconds: Int64.random(in: 1...9, using: &random))
        let bytes = [UInt8](repeating: UInt8(number % 2), count: Int(number % 3))
        let name = Self.names.randomElement(using: &random)!
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<22: return .put(store, owner, key: key, value: bytes)
        case 22..<30: return .delete(store, owner, key: key)
        case 30..<32: return .deleteAll(store, owner)
        case 32..<55:
            // Mostly rows of their own; now and then one under a used id, or the same again.
            return .spool(store, owner, SpoolRow(id: number, stamp: stamp, stanza: [UInt8(number)]), limit: 6)
        case 55..<63: return .unspool(store, owner, ids: [number, number + 1, number + 2])
        case 63..<66: return .unspoolAll(store, owner)
        case 66..<84:
            let other = owners.randomElement(using: &random)!
            let peer = Bool.random(using: &random) ? name : name + "/r"
            let references = [(owner: owner, id: number, with: key), (owner: other, id: number + 30, with: peer)]
            return .archive(store, references, stamp: stamp, stanza: bytes)
        case 84..<90:
            let from = Timestamp(milliseconds: Int64.random(in: 0...4, using: &random))
            return .trimArchive(
                store, owner, from: from, before: stamp, keep: [0, 2, 5, .max].randomElement(using: &random)!,
                limit: Int.random(in: 0...4, using: &random))
        case 90..<95:
            return .createAccount(host: "h", local: name, created: stamp, credentials: [bytes])
        case 95..<97: return .setCredentials(owner, [bytes, bytes])
        case 97..<98: return .replaceCredentials(owner, [bytes, bytes], with: [bytes])
        default: return .removeAccount(owner)
        }
    }

    /// Nil: the batch fails.
    mutating func apply(_ batch: [Mutation]) -> [MutationOutcome]? {
        var changed = self
        var outcomes: [MutationOutcome] = []
        for mutation in batch {
            guard let outcome = changed.apply(mutation) else { return nil }
            outcomes.append(outcome)
        }
        self = changed
        return outcomes
    }

    private mutating func apply(_ mutation: Mutation) -> MutationOutcome? {
        switch mutation {
        case .put(let store, let owner, let key, let value):
            if removed.contains(owner) { return nil }
            map.removeAll { $0.store == store && $0.owner == owner && $0.key == Array(key.utf8) }
            map.append(MapRow(store: store, owner: owner, key: Array(key.utf8), value: value))
            return .done
        case .delete(let store, let owner, let key):
            return .removed(map.drop { $0.store == store && $0.owner == owner && $0.key == Array(key.utf8) })
        case .deleteAll(let store, let owner):
            return .removed(map.drop { $0.store == store && $0.owner == owner })
        case .spool(let store, let owner, let row, let limit):
            if removed.contains(owner) { return nil }
            let held = spool.filter { $0.store == store && $0.owner == owner }
            if held.contains(where: { $0.row == row }) { return .done }
            if held.count >= limit { return .full }
            if held.contains(where: { $0.row.id == row.id }) { return nil }
            spool.append(Spooled(store: store, owner: owner, row: row))
            return .done
        case .unspool(let store, let owner, let ids):
            return .removed(spool.drop { $0.store == store && $0.owner == owner && ids.contains($0.row.id) })
        case .unspoolAll(let store, let owner):
            return .removed(spool.drop { $0.store == store && $0.owner == owner })
        case .archive(let store, let references, let stamp, let stanza):
            if !references.isEmpty, references.allSatisfy({ removed.contains($0.owner) }) { return nil }
            for reference in references where !removed.contains(reference.owner) {
                let row = ArchiveRow(id: reference.id, stamp: stamp, with: reference.with, stanza: stanza)
                let held = archive.first {
                    $0.store == store && $0.owner == reference.owner && $0.row.id == row.id
                }
                lastOrder += 1
                if let held {
                    guard held.row.bytes == row.bytes else { return nil }
                } else {
                    archive.append(Archived(store: store, owner: reference.owner, row: row, order: lastOrder))
                }
            }
            return .done
        case .trimArchive(let store, let owner, let from, let before, let keep, let limit):
            let held = archive.filter { $0.store == store && $0.owner == owner }.map(\.row).sorted { $0.id < $1.id }
            let old = held.prefix(limit).last { $0.stamp >= from && $0.stamp < before }?.id ?? .min
            let gone = held.enumerated().prefix(limit).filter { $1.id <= old || held.count - $0 > keep }.map(\.1.id)
            return .removed(archive.drop { $0.store == store && $0.owner == owner && gone.contains($0.row.id) })
        case .createAccount(let host, let local, let created, let credentials):
            if accounts.contains(where: { $0.local == local }) { return .exists }
            lastOwner += 1
            accounts.append(
                AccountRecord(
                    owner: OwnerID(lastOwner), host: host, local: local, created: created, credentials: credentials))
            return .owner(OwnerID(lastOwner))
        case .setCredentials(let owner, let credentials):
            for index in accounts.indices where accounts[index].owner == owner {
                accounts[index].credentials = credentials
            }
            return .done
        case .replaceCredentials(let owner, let old, let new):
            for index in accounts.indices where accounts[index].owner == owner && accounts[index].credentials == old {
                accounts[index].credentials = new
            }
            return .done
        case .removeAccount(let owner):
            removed.append(owner)
            accounts.removeAll { $0.owner == owner }
            map.removeAll { $0.owner == owner }
            spool.removeAll { $0.owner == owner }
            archive.removeAll { $0.owner == owner }
            return .done
        }
    }

    // MARK: Contents

    /// All that can be read, as lines.
    var contents: [String] {
        var lines: [String] = []
        for owner in owners {
            for store in Self.stores {
                lines += map.filter { $0.store == store && $0.owner == owner }
                    .sorted { $0.key.lexicographicallyPrecedes($1.key) }
                    .map { "map \(owner) \(store) \($0.key) \($0.value)" }
                lines += spool.filter { $0.store == store && $0.owner == owner }.map(\.row)
                    .sorted { $0.id < $1.id }.map { "spool \(owner) \(store) \($0)" }
                let rows = archive.filter { $0.store == store && $0.owner == owner }.map(\.row)
                    .sorted { $0.id < $1.id }
                lines += rows.map { "archive \(owner) \(store) \($0.bytes)" }
                for peer in Self.peers {
                    let found = rows.filter { row in
                        let with = Array(row.with.utf8)
                        return with == Array(peer.utf8)
                            || !peer.contains("/") && with.starts(with: Array((peer + "/").utf8))
                    }
                    lines.append("with \(owner) \(store) \(Array(peer.utf8)) \(found.map(\.id))")
                }
            }
        }
        return lines + accounts.sorted { $0.local < $1.local }.map { "account \($0)" }
    }

    static func contents(of snapshot: any StorageSnapshot, _ owners: [OwnerID]) throws(StorageError) -> [String] {
        var lines: [String] = []
        for owner in owners {
            for store in stores {
                for (key, value) in try snapshot.entries(store, owner) {
                    lines.append("map \(owner) \(store) \(Array(key.utf8)) \(value)")
                }
                for row in try snapshot.spool(store, owner, after: 0, limit: 1_000) {
                    lines.append("spool \(owner) \(store) \(row)")
                }
                for row in try snapshot.archive(store, owner, ArchiveQuery(limit: 1_000)) {
                    lines.append("archive \(owner) \(store) \(row.bytes)")
                }
                for peer in peers {
                    let ids = try snapshot.archiveIDs(store, owner, ArchiveQuery(with: peer, limit: 1_000))
                    lines.append("with \(owner) \(store) \(Array(peer.utf8)) \(ids)")
                }
            }
        }
        for account in try snapshot.accounts(host: "h", after: "", limit: 1_000) { lines.append("account \(account)") }
        return lines
    }
}

extension Mutation {
    /// Whether no read of an owner waits for it.
    fileprivate var namesNobody: Bool {
        switch self {
        case .createAccount: true
        default: false
        }
    }
}

extension ArchiveRow {
    /// All of it, its name by its bytes.
    fileprivate var bytes: String { "\(id) \(stamp.milliseconds) \(Array(with.utf8)) \(stanza)" }
}

extension Array {
    /// Removes what fulfils the condition and says how much it was.
    fileprivate mutating func drop(where condition: (Element) -> Bool) -> Int {
        let before = count
        removeAll(where: condition)
        return before - count
    }
}
