internal import GRDBSQLite
internal import ModuleKit

/// Applies mutations on the writing connection. It lives on the writer's thread; nothing here is shared.
final class Writer {
    let connection: Connection
    let rows: WriterStatements
    private let begin: Statement
    private let commitStatement: Statement
    private let rollbackStatement: Statement
    private let savepoint: Statement
    private let rollbackToSavepoint: Statement
    private let releaseSavepoint: Statement

    /// Owners that are known to have an account.
    private var alive: Set<OwnerID> = []
    /// The highest number ever given to an account; nil: not yet asked.
    private var lastOwner: Int64?
    /// Accounts that the open transaction removes, and those that committed ones removed.
    private var removing: [OwnerID] = []
    private var unswept: [OwnerID] = []
    /// Nil: not yet asked.
    var knownPeerCursor: PeerCursor?
    private var stores: [StoreKind: [StoreName: Int64]] = [:]
    /// Rows in a spool, for its limit. Exact, since nobody else writes; dropped when it might not be.
    private var spoolCounts: [SpoolKey: Int] = [:]

    struct SpoolKey: Hashable {
        var owner: OwnerID
        var store: Int64
    }

    init(_ connection: Connection) throws(StorageError) {
        self.connection = connection
        rows = try WriterStatements(connection)
        begin = try connection.prepare("BEGIN IMMEDIATE")
        commitStatement = try connection.prepare("COMMIT")
        rollbackStatement = try connection.prepare("ROLLBACK")
        savepoint = try connection.prepare("SAVEPOINT batch")
        rollbackToSavepoint = try connection.prepare("ROLLBACK TO batch")
        releaseSavepoint = try connection.prepare("RELEASE batch")
    }

    // MARK: Transactions

    /// Applies the batches in one transaction. If one of them cannot be applied, they are applied again with a way back
    /// before each, so that it fails alone; if the commit fails, all fail and nothing is stored.
    ///
    /// - Parameter beforeCommit: For tests: a commit that fails or takes its time.
    func commit(
        _ group: [Submission], into results: inout [Result<[MutationOutcome], StorageError>],
        beforeCommit: (() throws(StorageError) -> Void)? = nil
    ) {
        results.removeAll(keepingCapacity: true)
        var isRefused = false
        do throws(StorageError) {
            try begin.run()
            isRefused = group.count > 1
            // Nearly always all is well, and a way back costs a microsecond.
            for submission in group { results.append(.success(try apply(submission.batch))) }
            isRefused = false
            try beforeCommit?()
            try commitStatement.run()
            settle()
        } catch {
            rollback()
            results.removeAll(keepingCapacity: true)
            if isRefused {
                commitApart(group, into: &results, beforeCommit)
            } else {
                for _ in group { results.append(.failure(error)) }
            }
        }
    }

    private func commitApart(
        _ group: [Submission], into results: inout [Result<[MutationOutcome], StorageError>],
        _ beforeCommit: (() throws(StorageError) -> Void)?
    ) {
        do throws(StorageError) {
            try begin.run()
            for submission in group { results.append(try applyAlone(submission.batch)) }
            try beforeCommit?()
            try commitStatement.run()
            settle()
        } catch {
            rollback()
            results.removeAll(keepingCapacity: true)
            for _ in group { results.append(.failure(error)) }
        }
    }

    /// Applies a batch, or leaves the open transaction as it was.
    ///
    /// - Throws: What ended the whole transaction, such as a full disk.
    private func applyAlone(_ batch: [Mutation]) throws(StorageError) -> Result<[MutationOutcome], StorageError> {
        let count = removing.count
        try savepoint.run()
        let result: Result<[MutationOutcome], StorageError>
        do throws(StorageError) {
            result = .success(try apply(batch))
        } catch {
            guard connection.isInTransaction else { throw error }
            try rollbackToSavepoint.run()
            forget()
            removing.removeLast(removing.count - count)
            result = .failure(error)
        }
        try releaseSavepoint.run()
        return result
    }

    func transaction<Value>(_ body: () throws(StorageError) -> Value) throws(StorageError) -> Value {
        do throws(StorageError) {
            try begin.run()
            let value = try body()
            try commitStatement.run()
            settle()
            return value
        } catch {
            rollback()
            throw error
        }
    }

    /// Undoes the open transaction, if SQLite has not by itself, and what was remembered from it.
    private func rollback() {
        if connection.isInTransaction { try? rollbackStatement.run() }
        forget()
        removing.removeAll()
    }

    /// What was remembered may have been undone.
    private func forget() {
        stores.removeAll()
        spoolCounts.removeAll(keepingCapacity: true)
        alive.removeAll(keepingCapacity: true)
        lastOwner = nil
        knownPeerCursor = nil
    }

    private func settle() {
        guard !removing.isEmpty else { return }
        unswept += removing
        removing.removeAll()
    }

    /// Accounts removed by committed transactions since the last call: their rows are to be deleted.
    func takeRemovals() -> [OwnerID] {
        defer { unswept.removeAll() }
        return unswept
    }

    /// Removals that an earlier run did not finish.
    func loadTombstones() throws(StorageError) -> [OwnerID] {
        var owners: [OwnerID] = []
        while try rows.tombstones.step() { owners.append(OwnerID(rows.tombstones.integer(0))) }
        rows.tombstones.reset()
        return owners
    }

    // MARK: Mutations

    private func apply(_ batch: [Mutation]) throws(StorageError) -> [MutationOutcome] {
        guard batch.count != 1 else {
            let outcome = try apply(batch[0])
            return outcome == .done ? Writer.oneDone : [outcome]
        }
        var outcomes: [MutationOutcome] = []
        outcomes.reserveCapacity(batch.count)
        for mutation in batch { outcomes.append(try apply(mutation)) }
        return outcomes
    }

    /// What most batches give, made once.
    private static let oneDone: [MutationOutcome] = [.done]

    private func apply(_ mutation: Mutation) throws(StorageError) -> MutationOutcome {
        switch mutation {
        case .put(let store, let owner, let key, let value):
            guard try !isGone(owner) else { throw .noSuchOwner }
            return try put(try storeID(.map, store), owner, key, value)
        case .delete(let store, let owner, let key):
            guard try !isGone(owner), let store = try existingStoreID(.map, store) else { return .removed(0) }
            return try delete(store, owner, key)
        case .deleteAll(let store, let owner):
            guard try !isGone(owner), let store = try existingStoreID(.map, store) else { return .removed(0) }
            return try deleteAll(store, owner)
        case .spool(let store, let owner, let row, let limit):
            guard try !isGone(owner) else { throw .noSuchOwner }
            return try spool(SpoolKey(owner: owner, store: try storeID(.spool, store)), row, limit)
        case .unspool(let store, let owner, let ids):
            guard try !isGone(owner), let store = try existingStoreID(.spool, store) else { return .removed(0) }
            return try unspool(SpoolKey(owner: owner, store: store), ids)
        case .unspoolAll(let store, let owner):
            guard try !isGone(owner), let store = try existingStoreID(.spool, store) else { return .removed(0) }
            return try unspoolAll(SpoolKey(owner: owner, store: store))
        case .archive(let store, let references, let stamp, let stanza):
            return try archive(try storeID(.archive, store), references, stamp, stanza)
        case .trimArchive(let store, let owner, let from, let before, let keep, let limit):
            guard try !isGone(owner), let store = try existingStoreID(.archive, store) else { return .removed(0) }
            return try trim(store, owner, from..<max(from, before), keep, limit)
        case .createAccount(let host, let local, let created, let credentials):
            return try createAccount(host, local, created, credentials)
        case .setCredentials(let owner, let credentials):
            rows.setCredentials.bind(owner.rawValue, at: 1)
            try rows.setCredentials.run(bytes: CredentialList.encode(credentials), at: 2)
            return .done
        case .replaceCredentials(let owner, let old, let new):
            rows.replaceCredentials.bind(owner.rawValue, at: 1)
            try rows.replaceCredentials.bind(CredentialList.encode(old), at: 3)
            try rows.replaceCredentials.run(bytes: CredentialList.encode(new), at: 2)
            return .done
        case .removeAccount(let owner):
            return try removeAccount(owner)
        }
    }

    // MARK: Remembered

    private func existingStoreID(_ kind: StoreKind, _ name: StoreName) throws(StorageError) -> Int64? {
        if let id = stores[kind]?[name] { return id }
        rows.findStore.bind(kind.rawValue, at: 1)
        try rows.findStore.bind(name.rawValue, at: 2)
        defer { rows.findStore.reset() }
        guard try rows.findStore.step() else { return nil }
        let id = rows.findStore.integer(0)
        stores[kind, default: [:]][name] = id
        return id
    }

    private func storeID(_ kind: StoreKind, _ name: StoreName) throws(StorageError) -> Int64 {
        if let id = try existingStoreID(kind, name) { return id }
        rows.addStore.bind(kind.rawValue, at: 1)
        try rows.addStore.bind(name.rawValue, at: 2)
        try rows.addStore.run()
        let id = sqlite3_last_insert_rowid(connection.handle)
        stores[kind, default: [:]][name] = id
        return id
    }

    func spoolCount(_ key: SpoolKey) throws(StorageError) -> Int {
        if let count = spoolCounts[key] { return count }
        rows.countSpool.bind(key.owner.rawValue, at: 1)
        rows.countSpool.bind(key.store, at: 2)
        defer { rows.countSpool.reset() }
        let count = try rows.countSpool.step() ? Int(rows.countSpool.integer(0)) : 0
        setSpoolCount(key, count)
        return count
    }

    /// A spool nobody has counted need not be remembered: the next one who asks counts it.
    func changeSpoolCount(_ key: SpoolKey, by change: Int) {
        if let count = spoolCounts[key] { spoolCounts[key] = count + change }
    }

    func setSpoolCount(_ key: SpoolKey, _ count: Int) {
        // Starting over is simpler than finding the oldest, and one count costs some microseconds.
        if spoolCounts.count >= 65_536 { spoolCounts.removeAll(keepingCapacity: true) }
        spoolCounts[key] = count
    }

    /// Whether this owner had an account that was removed. Numbers are never used again, so a change for it comes too
    /// late, and its rows would be nobody's.
    func isGone(_ owner: OwnerID) throws(StorageError) -> Bool {
        if alive.contains(owner) { return false }
        if lastOwner == nil {
            defer { rows.lastOwner.reset() }
            lastOwner = try rows.lastOwner.step() ? rows.lastOwner.integer(0) : 0
        }
        guard let lastOwner, (1...max(1, lastOwner)).contains(owner.rawValue), lastOwner > 0 else { return false }
        rows.hasAccount.bind(owner.rawValue, at: 1)
        defer { rows.hasAccount.reset() }
        guard try rows.hasAccount.step() else { return true }
        noteAlive(owner)
        return false
    }

    private func noteAlive(_ owner: OwnerID) {
        if alive.count >= 65_536 { alive.removeAll(keepingCapacity: true) }
        alive.insert(owner)
    }

    func noteCreated(_ owner: OwnerID) {
        lastOwner = owner.rawValue
        noteAlive(owner)
    }

    func noteRemoved(_ owner: OwnerID) {
        spoolCounts.removeAll(keepingCapacity: true)
        alive.remove(owner)
        removing.append(owner)
    }

    /// Rows that the last statement changed.
    var changes: Int { Int(sqlite3_changes64(connection.handle)) }
    var lastID: Int64 { sqlite3_last_insert_rowid(connection.handle) }
}

/// What a name in the table of stores names.
enum StoreKind: Int64 {
    case map = 1
    case spool = 2
    case archive = 3
}
