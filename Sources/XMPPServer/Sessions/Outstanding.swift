import ModuleKit
import XMPPStream

/// What a session has for its client and has not yet seen arrive, oldest first.
///
/// With stream management that is every stanza until the client acknowledges it. Without, it is those that somebody
/// waits for, until the kernel has taken their bytes.
final class Outstanding {
    /// One stanza in the queue, as the modules let it through.
    struct Queued {
        let delivery: Delivery
        let stanza: Stanza
    }

    private(set) var queue: UnackedQueue<Queued>
    var management: StreamManagement?
    /// What was sent before stream management was enabled and the kernel has not taken; no part of the client's count.
    private(set) var unmanaged: UnackedQueue<Queued>?
    /// The id for `<resume/>`; nil: the session ends with its connection.
    var resumeID: String?
    var resumeTime: Duration = .zero
    /// Without stream management: the stanza that the next `taken` receipt stands for.
    private var nextTaken: UInt64 = 0
    private var firstTaken: UInt64 = 0
    /// With stream management: how many of the queue were written on this connection, and the bytes of the rest.
    private var writtenCount = 0
    private(set) var unwrittenBytes = 0
    /// What is written has waited for a resumption.
    private(set) var isCatchingUp = false
    var spillTimer: TimerToken?
    /// A portion went to disk, and the next one follows.
    var isSpilling = false
    var resumeTimer: TimerToken?
    /// A question of the client waits for its answer.
    var answerTimer: TimerToken?
    /// `<resumed/>` waits for open receipts.
    var isResuming = false

    init(_ limits: StreamManagementConfig) {
        queue = UnackedQueue(maxCount: limits.queue, maxBytes: limits.queueBytes)
    }

    var mustPause: Bool { management?.received.isFull ?? false }
    /// Something waits until the client has read more.
    var hasUnwritten: Bool { management != nil && writtenCount < queue.count }
    var isWithinBounds: Bool { queue.count <= queue.maxCount && queue.byteCount <= queue.maxBytes }

    // MARK: Received

    enum Arrival {
        /// To be handled; its sender is owed the receipt, if there is one.
        case new(Receipt?)
        /// It was handled before a resumption.
        case repeated
    }

    /// A stanza arrived. What its sender is owed follows from the stanza alone.
    func receive(_ stanza: Stanza, of session: SessionRef, isOwed: Bool, to sink: any ReceiptSink) -> Arrival {
        guard let needsMarks = management?.received.needsMarks else { return .new(nil) }
        let mark = isOwed || needsMarks ? stanza.repetitionMark : 0
        if needsMarks, management?.received.recognise(mark: mark) == true { return .repeated }
        guard isOwed, let number = management?.received.receive(mark: mark) else {
            management?.received.receiveSafe(mark: mark)
            return .new(nil)
        }
        return .new(Receipt(.received, of: session, sequence: number, to: sink))
    }

    // MARK: Sent

    /// From here on the client acknowledges.
    func enable(_ management: StreamManagement) {
        self.management = management
        guard !queue.isEmpty else { return }
        unmanaged = queue
        queue = UnackedQueue(maxCount: queue.maxCount, maxBytes: queue.maxBytes)
    }

    /// Adds a stanza; with stream management it is written by `nextToWrite`. False: the queue is beyond a bound.
    func append(_ delivery: Delivery, _ stanza: Stanza) -> Bool {
        let bytes = stanza.byteCount
        if management != nil { unwrittenBytes += bytes }
        return queue.append(Queued(delivery: delivery, stanza: stanza), bytes: bytes)
    }

    /// The oldest stanza that was not written; it counts as written now.
    func nextToWrite() -> Queued? {
        guard let (queued, bytes) = queue.entry(at: writtenCount) else { return nil }
        writtenCount += 1
        unwrittenBytes -= bytes
        return queued
    }

    /// All that can be written was written.
    func caughtUp() {
        isCatchingUp = false
    }

    /// Everything that is not acknowledged is to be written on another connection.
    func beginAgain() {
        writtenCount = 0
        unwrittenBytes = queue.byteCount
        isCatchingUp = true
    }

    /// Messages that are neither on disk nor known to be delivered, oldest first; also those from before stream
    /// management, whose bytes the kernel may never take.
    func unspilled() -> [Delivery] {
        var found: [Delivery] = []
        for queued in unmanaged ?? queue { note(queued.delivery) }
        if unmanaged != nil { for queued in queue { note(queued.delivery) } }
        func note(_ delivery: Delivery) {
            if delivery.isStorable, delivery.row == 0, !delivery.isDelivered { found.append(delivery) }
        }
        return found
    }

    /// The oldest that the client, or the kernel on its behalf, has now.
    func popArrived(byKernel: Bool) -> Delivery? {
        guard byKernel, management != nil else {
            if writtenCount > 0 { writtenCount -= 1 }
            return queue.popFirst()?.delivery
        }
        let queued = unmanaged?.popFirst()
        if unmanaged?.isEmpty == true { unmanaged = nil }
        return queued?.delivery
    }

    /// Everything, oldest first; nothing is left.
    func removeAll() -> [Delivery] {
        let before = removeUnmanaged()
        (writtenCount, unwrittenBytes) = (0, 0)
        return before + queue.removeAll().map(\.delivery)
    }

    /// What was sent before stream management was enabled and is not known to be taken; it is forgotten.
    func removeUnmanaged() -> [Delivery] {
        defer { unmanaged = nil }
        return unmanaged?.removeAll().map(\.delivery) ?? []
    }

    func makeTaken() -> UInt64 {
        defer { nextTaken += 1 }
        return nextTaken
    }

    /// How many of the oldest the kernel has taken when it has taken this one: writes are in order.
    func taken(_ sequence: UInt64) -> Int {
        guard sequence >= firstTaken, sequence - firstTaken < UInt64((unmanaged ?? queue).count) else { return 0 }
        let count = Int(sequence - firstTaken) + 1
        firstTaken = sequence + 1
        return count
    }
}

extension Stanza {
    /// Whether its sender is owed keeping: a message that waits for its reader or goes to a room, a change of a
    /// subscription, a change of the account's own data. Presence, requests and answers between clients, headlines and
    /// typing notices are handed on, and that is all.
    ///
    /// - Parameter account: the sender's.
    func isOwedKeeping(by account: BareJID) -> Bool {
        switch (kind, type) {
        case (.message, .groupchat): true
        case (.message, _): classification.storage == .keep
        case (.presence, .subscribe), (.presence, .subscribed), (.presence, .unsubscribe), (.presence, .unsubscribed):
            true
        case (.iq, .set): !isArchiveQuery && isFor(account)
        default: false
        }
    }

    /// It changes nothing, and its answer can take as long as its client likes.
    private var isArchiveQuery: Bool {
        namespaces & Namespace.archive.bit != 0 && root.first("query", .archive) != nil
    }

    /// For the account itself or its host.
    private func isFor(_ account: BareJID) -> Bool {
        to.map { $0 == JID(account) || $0.local.isEmpty && $0.domain == account.domain } ?? true
    }

    /// Equal for a stanza and its repetition, byte for byte; 0: there is no telling. Presence is said once more without
    /// harm, and what is said last has to hold.
    var repetitionMark: UInt64 {
        guard kind != .presence else { return 0 }
        var hasher = Hasher()
        tree.hashContent(into: &hasher)
        let value = UInt64(truncatingIfNeeded: hasher.finalize())
        return value == 0 ? 1 : value
    }
}
