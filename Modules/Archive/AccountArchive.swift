internal import ModuleKit

/// What is known of one account's archive while the account is in memory.
final class AccountArchive: Weighed {
    static let store: StoreName = "archive"

    /// Nil: the account has chosen nothing.
    var preferences: ArchivePreferences?
    private var lastID: Int64
    /// Rows that another loop is to write, ascending. Their messages have been sent, and nobody has taken them yet.
    private var open: [Int64] = []
    private var waiting: [(last: Int64, work: () -> Void)] = []

    init(lastID: Int64, _ preferences: ArchivePreferences?) {
        (self.lastID, self.preferences) = (lastID, preferences)
    }

    static func load(_ snapshot: any StorageSnapshot, _ owner: OwnerID) throws(StorageError) -> Moved<AccountArchive> {
        let newest = try snapshot.archiveIDs(store, owner, ArchiveQuery(direction: .backward, limit: 1)).last
        let preferences = try ArchivePreferences.load(owner, snapshot)
        return Moved(AccountArchive(lastID: newest ?? 0, preferences))
    }

    var byteCount: Int { 96 + open.count * 8 + (preferences?.byteCount ?? 0) }

    /// Bits of an id that nobody can guess (XEP-0313 §3); above them stands the millisecond.
    private static let secretBits: Int64 = 20

    /// The id of the next row: above the last one, and of this millisecond while the clock goes on, so that an id is
    /// not given twice when the last row is gone. Nil: there are no more.
    func makeID(at now: Timestamp) -> Int64? {
        let secret = Int64.random(in: 1..<1 << Self.secretBits)
        // Later years count on from the last id.
        let time = min(max(now.milliseconds, 0), 1 << 42) << Self.secretBits
        guard lastID < .max - secret else { return nil }
        lastID = max(lastID, time) + secret
        return lastID
    }

    /// XEP-0313 §6: only its owner asks; others are told the same whether there is the account or not.
    static func of(_ request: IQRequest) throws(StanzaError) -> (any Account, OwnerID, AccountArchive) {
        guard let account = request.account, request.stanza.from?.bare == account.address else { throw .forbidden }
        guard let owner = account.owner, let archive = account.state[AccountArchive.self] else {
            throw .featureNotImplemented.saying("there is no archive")
        }
        return (account, owner, archive)
    }

    // MARK: Rows on their way

    func opened(_ id: Int64) {
        open.append(id)
    }

    /// The row is on its way to the disk, or nobody writes it.
    func closed(_ id: Int64) {
        if let index = open.firstIndex(of: id) { open.remove(at: index) }
        guard !waiting.isEmpty else { return }
        let first = open.first ?? .max
        let ready = waiting.filter { $0.last < first }
        waiting.removeAll { $0.last < first }
        for item in ready { item.work() }
    }

    /// Requests that wait.
    private static let mostWaiting = 64

    /// Calls `work` with the newest id so far, when no row up to that one can be added any more: what is read up to
    /// there has no gap that would be filled behind the client's back.
    ///
    /// - Throws: `resource-constraint` when too many wait already.
    func whenSettled(_ work: @escaping (Int64) -> Void) throws(StanzaError) {
        guard waiting.count < Self.mostWaiting else { throw .resourceConstraint.saying("too many requests wait") }
        let last = lastID
        guard let first = open.first, first <= last else { return work(last) }
        waiting.append((last, { work(last) }))
    }
}
