import ModuleKit
import XMPPStream

/// What a session has sent and not yet seen arrive, oldest first.
///
/// With stream management that is every stanza until the client acknowledges it. Without, it is those that somebody
/// waits for, until the kernel has taken their bytes.
final class Outstanding {
    var queue: UnackedQueue<Delivery>
    var management: StreamManagement?
    /// What was sent before stream management was enabled and the kernel has not taken; no part of the client's count.
    var unmanaged: UnackedQueue<Delivery>?
    /// The id for `<resume/>`; nil: the session ends with its connection.
    var resumeID: String?
    var resumeTime: Duration = .zero
    /// Without stream management: the stanza that the next `taken` receipt stands for.
    private(set) var nextTaken: UInt32 = 0
    private(set) var firstTaken: UInt32 = 0
    var spillTimer: TimerToken?
    var resumeTimer: TimerToken?
    /// A question of the client waits for its answer.
    var answerTimer: TimerToken?
    /// `<resumed/>` waits for open receipts: then the id to name.
    var isResuming = false

    init(_ limits: StreamManagementConfig) {
        queue = UnackedQueue(maxCount: limits.queue, maxBytes: limits.queueBytes)
    }

    var mustPause: Bool { management?.received.isFull ?? false }

    /// A stanza arrived: what its sender is owed. Nil without stream management.
    func openReceipt(of session: SessionRef, to sink: any ReceiptSink) -> Receipt? {
        guard let sequence = management?.received.receive() else { return nil }
        return Receipt(.received, of: session, sequence: sequence, to: sink)
    }

    /// From here on the client acknowledges.
    func enable(_ management: StreamManagement) {
        self.management = management
        guard !queue.isEmpty else { return }
        unmanaged = queue
        queue = UnackedQueue(maxCount: queue.maxCount, maxBytes: queue.maxBytes)
    }

    /// The oldest that the client, or the kernel on its behalf, has now.
    func popArrived(byKernel: Bool) -> Delivery? {
        guard byKernel, management != nil else { return queue.popFirst() }
        let delivery = unmanaged?.popFirst()
        if unmanaged?.isEmpty == true { unmanaged = nil }
        return delivery
    }

    /// Everything, oldest first; nothing is left.
    func removeAll() -> [Delivery] {
        let before = unmanaged?.removeAll() ?? []
        unmanaged = nil
        return before + queue.removeAll()
    }

    /// What was sent before stream management was enabled and is not known to be taken; it is forgotten.
    func removeUnmanaged() -> [Delivery] {
        defer { unmanaged = nil }
        return unmanaged?.removeAll() ?? []
    }

    func makeTaken() -> UInt32 {
        defer { nextTaken &+= 1 }
        return nextTaken
    }

    /// How many of the oldest the kernel has taken when it has taken this one: writes are in order.
    func taken(_ sequence: UInt32) -> Int {
        let count = Int(sequence &- firstTaken) + 1
        guard count > 0, count <= (unmanaged ?? queue).count else { return 0 }
        firstTaken = sequence &+ 1
        return count
    }
}
