import Logging
import ModuleKit
import XMPPStream

/// The messages of one account that wait on disk, and the gate in front of its bare address (DESIGN: the spool gate).
///
/// A row is either free or leased: a session has it in its queue. A leased row is deleted when the session's client has
/// it, and free again when the session ends before. While free rows exist the gate is shut: what arrives for the bare
/// address queues up behind them.
final class AccountSpool: @unchecked Sendable {
    // Confined to the account's home loop; completions of the store come back there before they touch it.
    static let store: StoreName = "messages"
    private static let mostRows = 50
    /// About what a page weighs, once it is known how large the rows are.
    private static let pageBytes = 256 << 10

    enum Gate {
        case open
        case shut
        case draining(SessionRef)
    }

    /// Holds this spool; work under way holds both.
    unowned(unsafe) let account: LocalAccount
    private(set) var gate: Gate
    private var lastID: Int64
    var leased: Set<Int64> = []
    /// Leased rows whose deletion is on its way.
    private(set) var leaving: Set<Int64> = []
    /// The sessions that look at the messages one by one, and what is being copied to them.
    var browsing = Browsing()
    /// Of sessions that have ended; written a portion at a time.
    var leftovers = UnackedQueue<Delivery>(maxCount: .max, maxBytes: .max)
    var areLeftoversDue = false
    /// Rows that the client has and that the store has not been told of, or has failed to delete; told at the end of
    /// the turn, or tried again with the next page or deletion.
    private var undeleted: [Int64] = []
    private var isDeletionDue = false
    /// Rows queued for the journal whose commit is not known yet.
    private(set) var pending = 0
    /// Rows on disk or on their way to it, leased ones included.
    private(set) var rowCount: Int
    private(set) var isReading = false
    /// Rows that were deleted while a page was read, which may show them still.
    private var deletedMeanwhile: Set<Int64> = []
    /// The page that is being read is of a drain that has ended: what was removed since may be in it.
    private var isStale = false
    /// Rows that the last page could have.
    private var asked = 0
    /// Rows that the next page may have.
    private var pageRows = 10
    /// Messages kept since the last page was asked for.
    private var keptSinceRead = 0
    /// What is done when it is full.
    var room = Room()
    /// The drain has sent everything up to this row.
    private var cursor: Int64 = 0

    init(of account: LocalAccount, count: Int, lastID: Int64) {
        self.account = account
        self.lastID = lastID
        rowCount = count
        gate = count > 0 ? .shut : .open
    }

    /// For traces of simulations.
    var stateDescription: String {
        "gate \(gate), leased \(leased.sorted()), pending \(pending), reading \(isReading), cursor \(cursor)"
    }

    /// Messages that arrive for the bare address wait behind those that are here.
    var isGateShut: Bool {
        switch gate {
        case .open: false
        case .shut: policy != nil && !isOnlyBrowsed
        case .draining: true
        }
    }

    /// Something waits, and no session is being sent it.
    var awaitsSession: Bool {
        if case .shut = gate { true } else { false }
    }

    /// All sessions that take messages want to choose among those that wait. Those stay, and messages that
    /// arrive do not wait behind them.
    private var isOnlyBrowsed: Bool {
        guard !browsing.sessions.isEmpty else { return false }
        let interested = account.sessionList.filter(\.isInterested)
        return !interested.isEmpty && interested.allSatisfy { browsing.sessions.contains($0.ref) }
    }

    /// Something in memory that must not be forgotten.
    var isBusy: Bool {
        pending > 0 || isReading || !leased.isEmpty || browsing.isBusy || !room.waiting.isEmpty
            || !leftovers.isEmpty
    }

    var shard: Shard { account.shard }
    /// Nil: no module keeps messages any more. Those that wait are delivered all the same, and no new ones are kept.
    var policy: SpoolPolicy? { account.table?.spoolPolicy }
    /// Without a module that keeps messages, those that come while older ones are delivered have to wait all the same.
    private var limit: Int { policy?.limit ?? (isGateShut ? 1_000 : 0) }

    // MARK: Keeping

    /// Keeps a message that no session took.
    func keep(_ envelope: Envelope) {
        leftovers.isEmpty ? keepIfRoom(envelope) : keepBehindLeftovers(envelope)
    }

    /// No other message is kept before some are gone, or it is known whether some have expired.
    var isFull: Bool { freeCount >= limit || !room.waiting.isEmpty }

    func keepIfRoom(_ envelope: Envelope) {
        // A full spool refuses before anything waits for the disk. What sessions have does not count.
        guard !isFull else {
            return makeRoom { [self] isThere in
                if isThere, freeCount < limit {
                    keepNow(envelope)
                } else {
                    shard.bounce(envelope, .serviceUnavailable)
                }
            }
        }
        keepNow(envelope)
    }

    /// Messages that arrive from now on wait behind those that are being kept.
    func closeGate() {
        if case .open = gate { gate = .shut }
    }

    private func keepNow(_ envelope: Envelope) {
        closeGate()
        keptSinceRead += 1
        append(Delivery(envelope, stamp: shard.wallClock), limit: limit + leased.count) {
            [self] delivery, error in
            shard.bounce(delivery.envelope, error)
        }
    }

    /// Writes what a session has in its queue; the row is leased to it.
    func spill(_ delivery: Delivery, failed: @escaping (Delivery, StanzaError) -> Void) {
        shard.counts.spilled += 1
        delivery.isSpilled = true
        append(delivery, limit: .max, failed: failed)
        if delivery.row != 0 { leased.insert(delivery.row) }
    }

    private func append(
        _ delivery: Delivery, limit: Int, failed: @escaping (Delivery, StanzaError) -> Void
    ) {
        guard let owner = account.owner else { return failed(delivery, .serviceUnavailable) }
        guard let id = RowID.next(after: lastID, at: shard.wallClock) else {
            return failed(delivery, .resourceConstraint)
        }
        lastID = id
        delivery.row = id
        let row = SpoolRow(id: lastID, stamp: delivery.stamp, stanza: delivery.stanza.stored)
        pending += 1
        rowCount += 1
        // The completion holds the receipt: when it is let go, the row is on disk. It holds the account, too.
        shard.submit(
            [.spool(Self.store, owner, row, limit: limit)], bytes: row.stanza.count,
            chargedTo: delivery.stanza.from?.bare
        ) { [self, account] result in
            withExtendedLifetime(account) { appended(delivery, result, failed) }
        }
    }

    private func appended(
        _ delivery: Delivery, _ result: Result<[MutationOutcome], StorageError>,
        _ failed: (Delivery, StanzaError) -> Void
    ) {
        pending -= 1
        switch result {
        case .success(let outcomes) where outcomes.first != .full:
            delivery.receipt = nil
            if case .shut = gate { account.drainToAnyone() }
        case .success:
            giveUp(delivery)
            failed(delivery, .serviceUnavailable)
        case .failure(.noSuchOwner):
            // As to an address without an account: it was removed meanwhile.
            giveUp(delivery)
            failed(delivery, .serviceUnavailable)
        case .failure:
            giveUp(delivery)
            shard.counts.failedCommits += 1
            failed(delivery, .resourceConstraint)
        }
        // The gate may be shut for this row alone.
        if delivery.row == 0, case .shut = gate { account.drainToAnyone() }
        departIfDone()
    }

    /// Messages are on their way to the store, or to their senders if it is full.
    var isWriting: Bool { pending > 0 || !leftovers.isEmpty || !room.waiting.isEmpty }

    /// Of an account that has left: the next one of its address need not wait any more.
    func departIfDone() {
        if account.hasLeft, !isWriting { shard.departed(account) }
    }

    /// Rows are free again that were leased to nobody.
    func free(_ rows: Set<Int64>) {
        leased.subtract(rows)
        if case .open = gate { shut() }
    }

    private func giveUp(_ delivery: Delivery) {
        rowCount -= 1
        leased.remove(delivery.row)
        delivery.row = 0
    }

    // MARK: Leases

    /// The client has these rows. What arrives in one turn is deleted at once.
    func delete(_ rows: [Int64]) {
        undeleted += rows
        guard !undeleted.isEmpty, !isDeletionDue else { return }
        isDeletionDue = true
        let held = Confined(account)
        shard.loop.defer_ { self.deleteNow(of: held.value) }
    }

    /// The same without waiting for the end of the turn.
    func deleteAtOnce(_ rows: [Int64]) {
        undeleted += rows
        if !undeleted.isEmpty { deleteNow(of: account) }
    }

    /// - Parameter account: kept alive until then.
    private func deleteNow(of account: LocalAccount) {
        isDeletionDue = false
        let rows = undeleted
        undeleted = []
        leaving.formUnion(rows)
        guard let owner = account.owner else { return }
        let (loop, held) = (shard.loop, Confined(account))
        shard.storage.submit([.unspool(Self.store, owner, ids: rows)]) { [self] result in
            loop.post(.work { self.deleted(rows, result, of: held.value) })
        }
    }

    /// What could not be deleted stays leased, so that nobody gets it again, until another try succeeds.
    ///
    /// - Parameter account: kept alive by the deletion.
    private func deleted(
        _ rows: [Int64], _ result: Result<[MutationOutcome], StorageError>, of account: LocalAccount
    ) {
        leaving.subtract(rows)
        if case .success = result {
            leased.subtract(rows)
            noteDeleted(Set(rows))
        } else {
            shard.counts.failedCommits += 1
            // Behind it nothing is due: a store that fails is not asked again at once.
            undeleted += rows
        }
    }

    /// They are gone; a page that is being read may show them still.
    func noteDeleted(_ rows: Set<Int64>) {
        rowCount = max(leased.count, rowCount - rows.count)
        if isReading { deletedMeanwhile.formUnion(rows) }
    }

    /// The session that had these, which are on disk, has ended. They are free, as many of them as the account may have;
    /// the newest above that go back to their senders.
    func release(_ deliveries: [Delivery]) {
        var room = policy.map { $0.limit - freeCount } ?? .max
        var freed = false
        var excess: [Delivery] = []
        for delivery in deliveries where leased.contains(delivery.row) {
            // One that was free before and was leased for this session has its place.
            if delivery.isSpilled, room <= 0 {
                excess.append(delivery)
                continue
            }
            leased.remove(delivery.row)
            room -= 1
            freed = true
        }
        for delivery in excess { shard.bounce(delivery.envelope, .serviceUnavailable) }
        if !excess.isEmpty { delete(excess.map(\.row)) }
        if freed { shut() }
    }

    /// Rows that nobody has leased.
    private var freeCount: Int { rowCount - leased.count }

    // MARK: Draining

    /// Messages wait: they are sent to a session that takes them, if there is one.
    func shut() {
        gate = .shut
        cursor = 0
        // A page that is being read may lack what is free now, or show what is removed meanwhile.
        isStale = isReading
        account.drainToAnyone()
    }

    /// The session is sent nothing more of what waits unless it asks; another one may be.
    func stopDraining(because session: ClientSession) {
        guard case .draining(session.ref) = gate else { return }
        session.isDraining = false
        shut()
    }

    func drain(to session: ClientSession) {
        guard !browsing.sessions.contains(session.ref) else { return }
        switch gate {
        case .open: return
        case .shut:
            gate = .draining(session.ref)
            cursor = 0
        case .draining(let other):
            guard other == session.ref else { return }
        }
        session.isDraining = true
        readOn(session)
    }

    /// The session can take more, if it is the one being served.
    func goOn(_ session: ClientSession) {
        if browsing.isCopying { copyOn(to: session) }
        guard case .draining(session.ref) = gate else { return }
        readOn(session)
    }

    /// The session cannot be served any more.
    func stopDraining(_ session: ClientSession) {
        let looked = !session.isConnected && stopBrowsing(session)
        if case .draining(session.ref) = gate {
            stopDraining(because: session)
        } else if looked {
            account.drainToAnyone()
        }
    }

    private func readOn(_ session: ClientSession) {
        let room = min(pageRows, session.drainRoom)
        guard !isReading, let owner = account.owner, room > 0 else { return }
        delete([])
        asked = room
        isReading = true
        keptSinceRead = 0
        let (loop, from, held) = (shard.loop, cursor, Confined(account))
        shard.storage.read([owner]) { snapshot throws(StorageError) in
            try snapshot.spool(Self.store, owner, after: from, limit: room)
        } then: { [self] result in
            loop.post(.work { self.pageRead(result, after: from, of: held.value) })
        }
    }

    /// - Parameter account: kept alive by the read.
    private func pageRead(_ result: Result<[SpoolRow], StorageError>, after from: Int64, of account: LocalAccount) {
        isReading = false
        let (deleted, wasStale) = (deletedMeanwhile, isStale)
        deletedMeanwhile = []
        isStale = false
        guard case .draining(let ref) = gate else { return }
        guard let session = shard.sessions[ref.id], session.isInterested, session.isConnected else {
            gate = .shut
            return account.drainToAnyone()
        }
        // The drain began anew while the page was read.
        guard from == cursor, !wasStale else { return readOn(session) }
        guard case .success(let rows) = result else {
            // Tried again when the next message arrives or the next session becomes available.
            session.isDraining = false
            gate = .shut
            return
        }
        pageRows = Self.pageRows(after: rows, most: Self.mostRows)
        for row in rows {
            // What this page has and the client cannot take now is read again.
            guard session.drainRoom > 0 else { return }
            cursor = row.id
            if !leased.contains(row.id), !deleted.contains(row.id) { send(row, to: session) }
        }
        // A read sees every write submitted before it; only what came since can be missing.
        if rows.count == asked || keptSinceRead > 0 || !leftovers.isEmpty { return readOn(session) }
        session.isDraining = false
        gate = .open
    }

    /// How many rows of that size are a page.
    static func pageRows(after rows: [SpoolRow], most: Int) -> Int {
        let bytes = rows.reduce(1) { $0 + $1.stanza.count }
        return min(most, max(1, pageBytes * rows.count / bytes))
    }

    func isExpired(_ row: SpoolRow) -> Bool {
        guard let policy else { return false }
        return SpoolClock.isExpired(row.stamp, at: shard.wallClock, after: policy.expiry)
    }

    private func send(_ row: SpoolRow, to session: ClientSession) {
        guard !isExpired(row) else { return delete([row.id]) }
        guard let stanza = shard.stanzaReader.read(row.stanza) else { return setAside(row) }
        leased.insert(row.id)
        let delayed = stanza.delayed(by: account.address.domain, since: row.stamp)
        session.send(Delivery(Envelope(delayed), stamp: row.stamp, row: row.id))
    }
}

extension Stanza {
    /// With the stamp of its first arrival, unless this host gave it one before (XEP-0203 §3). A stamp of a clock that
    /// was wrong is not told: a client without one takes the message for a new one.
    func delayed(by host: String, since stamp: Timestamp) -> Stanza {
        guard stamp.isPlausible else { return self }
        for child in root.children where child.isNamed("delay", .delay) && child.attribute("from") == host {
            return self
        }
        for child in appended where child.isNamed("delay", .delay) && child[attribute: "from"] == host { return self }
        var delay = Element("delay", .delay)
        delay[attribute: "from"] = host
        delay[attribute: "stamp"] = stamp.description
        return appending(delay)
    }
}
