import ModuleKit
import Synchronization
import XMPPServer

/// One loop's part of sending messages, and how far it is.
struct RoutingTask {
    /// Whose clients get them; the loop's own or another's.
    var recipients: LoopDriver?
    /// Who sends to this loop's clients, if it is another loop.
    var source: LoopDriver?
    var message = AddressedMessage(size: 0)
    var toSend = 0
    var toReceive = 0
    /// Messages that may go before the other loop has delivered some.
    var credit = Int.max
    var isStalled = false
    /// A turn's messages, parsed and not yet sent; last one first.
    var ready: [(sender: Int, tree: XMLTree)] = []
    /// CPU nanoseconds that went into making them.
    var preparation: UInt64 = 0
}

extension LoopDriver {
    /// Messages of one turn of the loop.
    static let burst = 64
    /// Messages under way to another loop.
    private static let window = 16 * burst

    /// Everything but the sending itself, which begins when all loops are ready.
    func prepareRouting(to recipients: LoopDriver, from source: LoopDriver, messages: Int, size: Int) {
        var task = RoutingTask()
        task.recipients = recipients
        task.message = AddressedMessage(size: size)
        (task.toSend, task.toReceive) = (messages, messages)
        task.ready.reserveCapacity(Self.burst)
        if source !== self {
            task.source = source
            task.credit = Self.window
        }
        routing = task
        nextCredit = delivered + Self.burst
        hasSentAll.store(false, ordering: .releasing)
        hasReceivedAll.store(false, ordering: .releasing)
    }

    /// One turn's messages; the next turn goes on.
    func sendBurst() {
        guard routing.toSend > 0 else { return hasSentAll.store(true, ordering: .releasing) }
        guard routing.credit >= Self.burst else {
            routing.isStalled = true
            return
        }
        prepareBurst()
        while let next = routing.ready.popLast() {
            guard let handler = clients[next.sender]?.handler else { return complain("a client without a session") }
            if case .proceed = handler.received(next.tree) { continue }
            complain("a client was told to wait")
        }
        routing.toSend -= Self.burst
        if routing.source != nil { routing.credit -= Self.burst }
        loop.defer_ { [self] in sendBurst() }
    }

    /// Random senders of this loop to random recipients; no client is touched yet.
    private func prepareBurst() {
        guard let recipients = routing.recipients else { return }
        let start = cpu()
        for _ in 0..<Self.burst {
            let sender = random.next(below: count)
            let recipient = recipients.users[random.next(below: recipients.count)]
            routing.message.address(from: users[sender], to: recipient)
            if let tree = trees.tree(routing.message.bytes) { routing.ready.append((sender, tree)) }
        }
        routing.preparation += cpu() - start
    }

    /// A burst's worth has arrived here.
    func giveCredit() {
        nextCredit = delivered + Self.burst
        routing.toReceive -= Self.burst
        if routing.toReceive <= 0 {
            nextCredit = .max
            hasReceivedAll.store(true, ordering: .releasing)
        }
        guard let source = routing.source else { return }
        source.loop.post(.work { source.takeCredit() })
    }

    private func takeCredit() {
        routing.credit += Self.burst
        guard routing.isStalled else { return }
        routing.isStalled = false
        sendBurst()
    }
}
