internal import ModuleKit

/// A copy of what was committed when the read began.
final class MemorySnapshot: StorageSnapshot {
    /// Nil: the read is over.
    private var current: MemoryData?

    init(_ data: MemoryData) {
        current = data
    }

    func end() {
        current = nil
    }

    private var data: MemoryData {
        get throws(StorageError) {
            guard let current else { throw .failed("a snapshot was used after its read") }
            return current
        }
    }

    // MARK: Maps

    func value(_ store: StoreName, _ owner: OwnerID, key: String) throws(StorageError) -> [UInt8]? {
        try data.maps[owner]?[ExactString(store.rawValue)]?[ExactString(key)]
    }

    func entries(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> [(key: String, value: [UInt8])] {
        let map = try data.maps[owner]?[ExactString(store.rawValue)] ?? [:]
        return map.sorted { $0.key < $1.key }.map { ($0.key.string, $0.value) }
    }

    // MARK: Spools

    func spool(_ store: StoreName, _ owner: OwnerID, after: Int64, limit: Int) throws(StorageError) -> [SpoolRow] {
        Array(try rows(store, owner).lazy.filter { $0.id > after }.prefix(max(0, limit)))
    }

    func spoolCount(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> Int {
        try rows(store, owner).count
    }

    func spoolLastID(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> Int64 {
        try rows(store, owner).last?.id ?? 0
    }

    private func rows(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> [SpoolRow] {
        try data.spools[owner]?[ExactString(store.rawValue)] ?? []
    }

    // MARK: Archives

    func archive(_ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery) throws(StorageError) -> [ArchiveRow] {
        let rows = try archive(store, owner)
        let limit = query.clampedLimit
        switch query.direction {
        case .forward: return Array(rows.lazy.filter(query.finds).prefix(limit))
        case .backward: return Array(rows.reversed().lazy.filter(query.finds).prefix(limit)).reversed()
        }
    }

    func archiveIDs(_ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery) throws(StorageError) -> [Int64] {
        try archive(store, owner, query).map(\.id)
    }

    func archiveCount(
        _ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery, most: Int
    ) throws(StorageError) -> Int {
        Array(try archive(store, owner).lazy.filter(query.finds).prefix(max(0, most))).count
    }

    func archiveExtent(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> ArchiveExtent? {
        let rows = try archive(store, owner)
        guard let first = rows.first, let last = rows.last else { return nil }
        return ArchiveExtent(
            oldest: .init(id: first.id, stamp: first.stamp), newest: .init(id: last.id, stamp: last.stamp))
    }

    private func archive(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> [ArchiveRow] {
        (try data.archives[owner]?[ExactString(store.rawValue)] ?? []).map(\.row)
    }

    // MARK: Accounts

    func account(host: String, local: String) throws(StorageError) -> AccountRecord? {
        try data.accounts[ExactString(host)]?[ExactString(local)].map { record(host, local, $0) }
    }

    func accounts(host: String, after local: String, limit: Int) throws(StorageError) -> [AccountRecord] {
        let after = ExactString(local)
        return try (data.accounts[ExactString(host)] ?? [:]).filter { $0.key > after }.sorted { $0.key < $1.key }
            .prefix(max(0, limit)).map { record(host, $0.key.string, $0.value) }
    }

    func accountCount(host: String) throws(StorageError) -> Int {
        try data.accounts[ExactString(host)]?.count ?? 0
    }

    func host(after host: String) throws(StorageError) -> String? {
        let after = ExactString(host)
        return try data.accounts.filter { !$0.value.isEmpty && $0.key > after }.keys.min()?.string
    }

    private func record(_ host: String, _ local: String, _ account: MemoryData.Account) -> AccountRecord {
        AccountRecord(
            owner: account.owner, host: host, local: local, created: account.created, credentials: account.credentials)
    }
}

extension ArchiveQuery {
    /// Whether the row matches, whatever the limit.
    fileprivate func finds(_ row: ArchiveRow) -> Bool {
        if let with, ExactString(row.with) != ExactString(with) {
            guard let resources, row.with.utf8.starts(with: resources.above.utf8) else { return false }
        }
        if let start, row.stamp < start { return false }
        if let end, end < row.stamp { return false }
        if let after, row.id <= after { return false }
        if let before, row.id >= before { return false }
        return true
    }
}
