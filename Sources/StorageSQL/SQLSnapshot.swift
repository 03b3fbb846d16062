internal import GRDBSQLite
internal import ModuleKit

/// The statements of a reading connection, and the one transaction it has open at a time.
///
/// `@unchecked Sendable`: it belongs to its read thread. A job that keeps it longer than its read gets errors.
final class SQLSnapshot: StorageSnapshot, @unchecked Sendable {
    private let connection: Connection
    private let beginStatement, endStatement: Statement
    private let anyTombstone, tombstone: Statement
    private let findStore: Statement
    private let getValue, getEntries: Statement
    private let getSpool, countSpool, lastSpool: Statement
    private let archiveForward, archiveBackward: Statement
    private let idsForward, idsBackward, findArchive: Statement
    private let oldest, newest: Statement
    private let cursor, withForward, withBackward, tail, reference: Statement
    private let getAccount, getAccounts, countAccounts, nextHost: Statement

    private var isOpen = false
    /// Whether any account is being removed; nil: not yet asked in this snapshot.
    private var hasTombstones: Bool?
    private var stores: [StoreKind: [StoreName: Int64]] = [:]

    init(_ connection: Connection) throws(StorageError) {
        self.connection = connection
        beginStatement = try connection.prepare("BEGIN")
        endStatement = try connection.prepare("COMMIT")
        anyTombstone = try connection.prepare("SELECT 1 FROM tombstone LIMIT 1")
        tombstone = try connection.prepare("SELECT 1 FROM tombstone WHERE owner = ?1")
        findStore = try connection.prepare("SELECT id FROM store WHERE kind = ?1 AND name = ?2")
        getValue = try connection.prepare("SELECT value FROM map WHERE owner = ?1 AND store = ?2 AND key = ?3")
        getEntries = try connection.prepare(
            "SELECT key, value FROM map WHERE owner = ?1 AND store = ?2 ORDER BY key")
        getSpool = try connection.prepare(
            """
            SELECT id, stamp, stanza FROM spool WHERE owner = ?1 AND store = ?2 AND id > ?3 ORDER BY id LIMIT ?4
            """)
        countSpool = try connection.prepare("SELECT count(*) FROM spool WHERE owner = ?1 AND store = ?2")
        lastSpool = try connection.prepare("SELECT max(id) FROM spool WHERE owner = ?1 AND store = ?2")
        let rows = """
            WHERE r.owner = ?1 AND r.store = ?2 AND r.id > ?3 AND r.id < ?4 AND r.stamp BETWEEN ?6 AND ?7
            AND (?5 IS NULL OR r.peer = ?5 OR r.peer >= ?9 AND r.peer < ?10)
            """
        func archive(_ order: String) throws(StorageError) -> Statement {
            try connection.prepare(
                """
                SELECT r.id, r.stamp, r.peer, b.stanza
                FROM archive_reference r CROSS JOIN archive_body b ON b.id = r.body
                \(rows) ORDER BY r.id \(order) LIMIT ?8
                """)
        }
        archiveForward = try archive("ASC")
        archiveBackward = try archive("DESC")
        func ids(_ order: String) throws(StorageError) -> Statement {
            try connection.prepare("SELECT r.id FROM archive_reference r \(rows) ORDER BY r.id \(order) LIMIT ?8")
        }
        idsForward = try ids("ASC")
        idsBackward = try ids("DESC")
        findArchive = try connection.prepare("SELECT 1 FROM archive_reference r \(rows) LIMIT ?8")
        cursor = try connection.prepare("SELECT body FROM archive_cursor WHERE id = 1")
        func with(_ order: String) throws(StorageError) -> Statement {
            try connection.prepare(
                """
                SELECT p.id FROM archive_peer p CROSS JOIN archive_reference r
                ON r.owner = p.owner AND r.store = p.store AND r.id = p.id
                WHERE p.owner = ?1 AND p.store = ?2 AND p.peer = ?11 AND p.id > ?3 AND p.id < ?4
                AND r.stamp BETWEEN ?6 AND ?7 AND (r.peer = ?5 OR r.peer >= ?9 AND r.peer < ?10)
                ORDER BY p.id \(order) LIMIT ?8
                """)
        }
        withForward = try with("ASC")
        withBackward = try with("DESC")
        tail = try connection.prepare(
            """
            SELECT id, store, "references" FROM archive_body WHERE id > ?1 ORDER BY id LIMIT ?2
            """)
        reference = try connection.prepare(
            """
            SELECT r.id FROM archive_reference r WHERE r.owner = ?1 AND r.store = ?2 AND r.id = ?12 AND r.body = ?13
            AND r.id > ?3 AND r.id < ?4 AND r.stamp BETWEEN ?6 AND ?7
            AND (r.peer = ?5 OR r.peer >= ?9 AND r.peer < ?10)
            """)
        func end(_ order: String) throws(StorageError) -> Statement {
            try connection.prepare(
                """
                SELECT id, stamp FROM archive_reference WHERE owner = ?1 AND store = ?2 ORDER BY id \(order) LIMIT 1
                """)
        }
        oldest = try end("ASC")
        newest = try end("DESC")
        // The next one where there is none of this name: to find nobody takes as long as to find somebody.
        getAccount = try connection.prepare(
            """
            SELECT id, host, local, created, credentials FROM account WHERE host = ?1 AND local >= ?2
            ORDER BY local LIMIT 1
            """)
        getAccounts = try connection.prepare(
            """
            SELECT id, host, local, created, credentials FROM account WHERE host = ?1 AND local > ?2
            ORDER BY local LIMIT ?3
            """)
        countAccounts = try connection.prepare("SELECT count(*) FROM account WHERE host = ?1")
        nextHost = try connection.prepare("SELECT host FROM account WHERE host > ?1 ORDER BY host LIMIT 1")
    }

    func begin() throws(StorageError) {
        try beginStatement.run()
        hasTombstones = nil
        isOpen = true
    }

    func end() {
        isOpen = false
        // A commit of reads can hardly fail; if it does, SQLite must still not keep the snapshot.
        if connection.isInTransaction, (try? endStatement.run()) == nil { try? connection.execute("ROLLBACK") }
    }

    /// The number of this store if it can hold rows of this owner.
    private func store(_ kind: StoreKind, _ name: StoreName, for owner: OwnerID) throws(StorageError) -> Int64? {
        guard isOpen else { throw .failed("a snapshot was used after its read") }
        if hasTombstones == nil {
            defer { anyTombstone.reset() }
            hasTombstones = try anyTombstone.step()
        }
        if hasTombstones == true {
            tombstone.bind(owner.rawValue, at: 1)
            defer { tombstone.reset() }
            if try tombstone.step() { return nil }
        }
        if let id = stores[kind]?[name] { return id }
        findStore.bind(kind.rawValue, at: 1)
        try findStore.bind(name.rawValue, at: 2)
        defer { findStore.reset() }
        guard try findStore.step() else { return nil }
        let id = findStore.integer(0)
        stores[kind, default: [:]][name] = id
        return id
    }

    // MARK: Maps

    func value(_ store: StoreName, _ owner: OwnerID, key: String) throws(StorageError) -> [UInt8]? {
        guard let store = try self.store(.map, store, for: owner) else { return nil }
        getValue.bind(owner.rawValue, at: 1)
        getValue.bind(store, at: 2)
        try getValue.bind(key, at: 3)
        defer { getValue.reset() }
        return try getValue.step() ? getValue.bytes(0) : nil
    }

    func entries(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> [(key: String, value: [UInt8])] {
        guard let store = try self.store(.map, store, for: owner) else { return [] }
        getEntries.bind(owner.rawValue, at: 1)
        getEntries.bind(store, at: 2)
        defer { getEntries.reset() }
        var entries: [(key: String, value: [UInt8])] = []
        while try getEntries.step() { entries.append((getEntries.text(0), getEntries.bytes(1))) }
        return entries
    }

    // MARK: Spools

    func spool(_ store: StoreName, _ owner: OwnerID, after: Int64, limit: Int) throws(StorageError) -> [SpoolRow] {
        guard let store = try self.store(.spool, store, for: owner) else { return [] }
        getSpool.bind(owner.rawValue, at: 1)
        getSpool.bind(store, at: 2)
        getSpool.bind(after, at: 3)
        getSpool.bind(Int64(max(0, limit)), at: 4)
        defer { getSpool.reset() }
        var rows: [SpoolRow] = []
        while try getSpool.step() {
            rows.append(
                SpoolRow(
                    id: getSpool.integer(0), stamp: Timestamp(milliseconds: getSpool.integer(1)),
                    stanza: getSpool.bytes(2)))
        }
        return rows
    }

    func spoolCount(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> Int {
        guard let store = try self.store(.spool, store, for: owner) else { return 0 }
        return Int(try number(countSpool, owner, store))
    }

    func spoolLastID(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> Int64 {
        guard let store = try self.store(.spool, store, for: owner) else { return 0 }
        return try number(lastSpool, owner, store)
    }

    private func number(_ query: Statement, _ owner: OwnerID, _ store: Int64) throws(StorageError) -> Int64 {
        query.bind(owner.rawValue, at: 1)
        query.bind(store, at: 2)
        defer { query.reset() }
        return try query.step() ? query.integer(0) : 0
    }

    // MARK: Archives

    func archive(_ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery) throws(StorageError) -> [ArchiveRow] {
        guard let store = try self.store(.archive, store, for: owner) else { return [] }
        let statement = query.direction == .forward ? archiveForward : archiveBackward
        try bind(query, owner, store, limit: query.clampedLimit, to: statement)
        defer { statement.reset() }
        var rows: [ArchiveRow] = []
        while try statement.step() {
            rows.append(
                ArchiveRow(
                    id: statement.integer(0), stamp: Timestamp(milliseconds: statement.integer(1)),
                    with: statement.text(2), stanza: statement.bytes(3)))
        }
        if query.direction == .backward { rows.reverse() }
        return rows
    }

    func archiveIDs(_ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery) throws(StorageError) -> [Int64] {
        guard let store = try self.store(.archive, store, for: owner) else { return [] }
        return try archiveIDs(store, owner, query, limit: query.clampedLimit)
    }

    private func archiveIDs(
        _ store: Int64, _ owner: OwnerID, _ query: ArchiveQuery, limit: Int
    ) throws(StorageError) -> [Int64] {
        if query.with != nil, !query.isOfOneRow, let ids = try indexedIDs(store, owner, query, limit: limit) {
            return ids
        }
        let statement = query.direction == .forward ? idsForward : idsBackward
        let ids = try self.ids(statement, store, owner, query, limit: limit)
        return query.direction == .backward ? ids.reversed() : ids
    }

    private func ids(
        _ statement: Statement, _ store: Int64, _ owner: OwnerID, _ query: ArchiveQuery, limit: Int
    ) throws(StorageError) -> [Int64] {
        try bind(query, owner, store, limit: limit, to: statement)
        defer { statement.reset() }
        var ids: [Int64] = []
        while try statement.step() { ids.append(statement.integer(0)) }
        return ids
    }

    /// Bodies behind the cursor that are looked at one by one.
    private static let mostUnindexed = 2_000

    /// The rows with one peer: from the index, and from what has come since it was built. Nil: that is too much.
    private func indexedIDs(
        _ store: Int64, _ owner: OwnerID, _ query: ArchiveQuery, limit: Int
    ) throws(StorageError) -> [Int64]? {
        guard let late = try unindexedIDs(store, owner, query) else { return nil }
        let statement = query.direction == .forward ? withForward : withBackward
        let peer = query.with?.withoutResource ?? ""
        try statement.bind(peer, at: 11)
        let indexed = try ids(statement, store, owner, query, limit: limit)
        // A row that is in both was looked at meanwhile.
        let all = Set(indexed + late).sorted()
        return Array(query.direction == .forward ? all.prefix(limit) : all.suffix(limit))
    }

    private func unindexedIDs(
        _ store: Int64, _ owner: OwnerID, _ query: ArchiveQuery
    ) throws(StorageError) -> [Int64]? {
        defer {
            cursor.reset()
            tail.reset()
        }
        tail.bind(try cursor.step() ? cursor.integer(0) : 0, at: 1)
        tail.bind(Int64(Self.mostUnindexed), at: 2)
        var (count, found) = (0, [Int64]())
        while try tail.step() {
            count += 1
            guard tail.integer(1) == store else { continue }
            for (other, id) in ReferenceList.decode(tail.bytes(2)) where other == owner.rawValue {
                reference.bind(id, at: 12)
                reference.bind(tail.integer(0), at: 13)
                found += try ids(reference, store, owner, query, limit: 1)
            }
        }
        return count < Self.mostUnindexed ? found : nil
    }

    func archiveCount(
        _ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery, most: Int
    ) throws(StorageError) -> Int {
        guard let store = try self.store(.archive, store, for: owner) else { return 0 }
        if query.with != nil { return try archiveIDs(store, owner, query, limit: max(0, most)).count }
        try bind(query, owner, store, limit: max(0, most), to: findArchive)
        defer { findArchive.reset() }
        var count = 0
        while try findArchive.step() { count += 1 }
        return count
    }

    func archiveExtent(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> ArchiveExtent? {
        guard let store = try self.store(.archive, store, for: owner) else { return nil }
        guard let first = try end(oldest, owner, store), let last = try end(newest, owner, store) else { return nil }
        return ArchiveExtent(oldest: first, newest: last)
    }

    private func end(
        _ statement: Statement, _ owner: OwnerID, _ store: Int64
    ) throws(StorageError) -> ArchiveExtent.End? {
        statement.bind(owner.rawValue, at: 1)
        statement.bind(store, at: 2)
        defer { statement.reset() }
        guard try statement.step() else { return nil }
        return .init(id: statement.integer(0), stamp: Timestamp(milliseconds: statement.integer(1)))
    }

    private func bind(
        _ query: ArchiveQuery, _ owner: OwnerID, _ store: Int64, limit: Int, to statement: Statement
    ) throws(StorageError) {
        statement.bind(owner.rawValue, at: 1)
        statement.bind(store, at: 2)
        statement.bind(query.after ?? .min, at: 3)
        statement.bind(query.before ?? .max, at: 4)
        if let with = query.with { try statement.bind(with, at: 5) } else { statement.bindNull(at: 5) }
        statement.bind(query.start?.milliseconds ?? .min, at: 6)
        statement.bind(query.end?.milliseconds ?? .max, at: 7)
        statement.bind(Int64(limit), at: 8)
        if let resources = query.resources {
            try statement.bind(resources.above, at: 9)
            try statement.bind(resources.below, at: 10)
        } else {
            statement.bindNull(at: 9)
            statement.bindNull(at: 10)
        }
    }

    // MARK: Accounts

    func account(host: String, local: String) throws(StorageError) -> AccountRecord? {
        guard isOpen else { throw .failed("a snapshot was used after its read") }
        try getAccount.bind(host, at: 1)
        try getAccount.bind(local, at: 2)
        defer { getAccount.reset() }
        guard try getAccount.step() else { return nil }
        let found = try record(getAccount)
        return found.local.utf8.elementsEqual(local.utf8) ? found : nil
    }

    func accounts(host: String, after local: String, limit: Int) throws(StorageError) -> [AccountRecord] {
        guard isOpen else { throw .failed("a snapshot was used after its read") }
        try getAccounts.bind(host, at: 1)
        try getAccounts.bind(local, at: 2)
        getAccounts.bind(Int64(max(0, limit)), at: 3)
        defer { getAccounts.reset() }
        var records: [AccountRecord] = []
        while try getAccounts.step() { records.append(try record(getAccounts)) }
        return records
    }

    func accountCount(host: String) throws(StorageError) -> Int {
        guard isOpen else { throw .failed("a snapshot was used after its read") }
        try countAccounts.bind(host, at: 1)
        defer { countAccounts.reset() }
        return try countAccounts.step() ? Int(countAccounts.integer(0)) : 0
    }

    func host(after host: String) throws(StorageError) -> String? {
        guard isOpen else { throw .failed("a snapshot was used after its read") }
        try nextHost.bind(host, at: 1)
        defer { nextHost.reset() }
        return try nextHost.step() ? nextHost.text(0) : nil
    }

    private func record(_ row: Statement) throws(StorageError) -> AccountRecord {
        let owner = OwnerID(row.integer(0))
        guard let credentials = CredentialList.decode(row.bytes(4)) else {
            throw .damaged("the credentials of account \(owner) are damaged")
        }
        return AccountRecord(
            owner: owner, host: row.text(1), local: row.text(2), created: Timestamp(milliseconds: row.integer(3)),
            credentials: credentials)
    }
}

extension ArchiveQuery {
    /// Its ends leave room for one id.
    fileprivate var isOfOneRow: Bool {
        guard let after, let before else { return false }
        return before &- after == 2
    }
}
