import ModuleKit
import XMPPStream

/// To the client.
extension ClientSession {
    /// Bytes that may wait for the kernel before drains and pages pause.
    private static let highMark = 64 << 10
    /// Stanzas without an answer before a drain pauses.
    private static let drainWindow = 200

    func send(_ envelope: Envelope) {
        guard !hasEnded else { return settle(Delivery(envelope, stamp: shard.wallClock)) }
        if outstanding?.management == nil, envelope.receipt == nil {
            // The usual case without stream management: nobody waits, nothing is tracked.
            if let stanza = passed(envelope.stanza) { write(stanza, receipt: nil) }
            return
        }
        send(Delivery(envelope, stamp: shard.wallClock))
    }

    /// Sends a stanza that other sessions may hold as well, or that has a row in the spool.
    func send(_ delivery: Delivery) {
        guard !hasEnded else { return settle(delivery) }
        guard let stanza = passed(delivery.stanza) else { return }
        let outstanding = obtainOutstanding()
        delivery.holders += 1
        delivery.queuedAt = shard.loop.now
        let fits = outstanding.queue.append(delivery, bytes: stanza.byteCount)
        if outstanding.management == nil {
            write(stanza, receipt: Receipt(.taken, of: ref, sequence: outstanding.makeTaken(), to: shard.office))
        } else {
            let policy = outstanding.management?.policy ?? AckRequestPolicy()
            let asks = outstanding.management?.sent.send(policy) ?? false
            if isConnected, !outstanding.isResuming {
                write(stanza, receipt: nil)
                if asks { transport?.sendRequest() }
                speakAtEndOfTurn()
            }
            spillLater(delivery, outstanding)
        }
        if !fits { overflow() }
    }

    /// The stanza as the modules let it through.
    private func passed(_ stanza: Stanza) -> Stanza? {
        guard let table else { return nil }
        guard table.sending.wants(stanza) else { return stanza }
        var event = Sending(session: self, stanza: stanza)
        guard case .next = table.sending.run(&event, stanza) else { return nil }
        return event.stanza
    }

    func write(_ stanza: Stanza, receipt: Receipt?) {
        guard let transport else { return }
        shard.counts.delivered += 1
        transport.send(stanza, receipt: receipt)
        if transport.pendingBytes > shard.settings.limits.authenticated.unread { overflow() }
    }

    func obtainOutstanding() -> Outstanding {
        if let outstanding { return outstanding }
        let made = Outstanding(shard.settings.streamManagement)
        outstanding = made
        return made
    }

    /// The client does not read. With stream management it may come back and find its stanzas; else it is cut off, and
    /// what it has not got goes where messages for it would go.
    private func overflow() {
        guard resumption != nil, let outstanding,
            outstanding.queue.count <= outstanding.queue.maxCount,
            outstanding.queue.byteCount <= outstanding.queue.maxBytes
        else { return endSoon(.resourceConstraint.saying("too much is waiting for this client")) }
        guard let transport else { return }
        self.transport = nil
        transport.handler = nil
        transport.abort()
        detach()
    }

    /// Not within a fan-out that is walking over the account's sessions.
    private func endSoon(_ error: StreamError) {
        shard.loop.defer_ { [self] in end(.error(error)) }
    }

    /// How many more stanzas of a drain the session can take now; what arrives meanwhile needs room as well.
    var drainRoom: Int {
        guard let transport, !hasEnded else { return 0 }
        if transport.pendingBytes > Self.highMark {
            transport.notifyWhenWritable()
            return 0
        }
        let window = min(Self.drainWindow, shard.settings.streamManagement.queue / 2)
        return window - (outstanding?.queue.count ?? 0)
    }

    // MARK: What arrived

    /// The client or, without stream management, the kernel has the oldest so many.
    func arrived(_ count: Int, byKernel: Bool = false) {
        guard let outstanding, count > 0 else { return }
        var rows: [Int64] = []
        for _ in 0..<count {
            guard let delivery = outstanding.popArrived(byKernel: byKernel) else { break }
            delivery.holders -= 1
            if delivery.isDelivered { continue }
            delivery.isDelivered = true
            delivery.receipt = nil
            if delivery.row != 0 { rows.append(delivery.row) }
        }
        if !rows.isEmpty { localAccount.existingSpool?.delete(rows) }
        if isDraining { localAccount.existingSpool?.goOn(self) }
    }

    /// A receipt of this session was let go.
    func closed(_ receipt: Receipt.Name) {
        guard let outstanding else { return }
        switch receipt.kind {
        case .taken:
            arrived(outstanding.taken(receipt.sequence), byKernel: true)
        case .received:
            guard outstanding.management?.received.close(receipt.sequence) == true else { return }
            if outstanding.isResuming, outstanding.management?.received.openCount == 0 {
                finishResuming()
            } else {
                speakAtEndOfTurn()
            }
            resumeIfPossible()
        }
    }

    // MARK: Spilling

    private func spillLater(_ delivery: Delivery, _ outstanding: Outstanding) {
        guard delivery.isStorable, delivery.row == 0 else { return }
        if !isConnected { return spill(delivery) }
        guard outstanding.spillTimer == nil else { return }
        outstanding.spillTimer = shard.loop.schedule(
            after: shard.settings.streamManagement.spill, self, tag: Tag.spill)
    }

    /// What the client has not acknowledged in time goes to disk, so that its sender need not wait.
    func spillDue() {
        guard let outstanding, !hasEnded else { return }
        outstanding.spillTimer = nil
        let wait = shard.settings.streamManagement.spill
        let now = shard.loop.now
        var rest: Delivery?
        for delivery in outstanding.queue where delivery.isStorable && delivery.row == 0 && !delivery.isDelivered {
            guard delivery.queuedAt.advanced(by: wait) <= now else {
                rest = delivery
                break
            }
            spill(delivery)
        }
        if let rest { spillLater(rest, outstanding) }
    }

    func spillAll() {
        guard let outstanding else { return }
        for delivery in outstanding.queue where delivery.isStorable && delivery.row == 0 && !delivery.isDelivered {
            spill(delivery)
        }
    }

    private func spill(_ delivery: Delivery) {
        guard delivery.row == 0, !delivery.isDelivered, let spool = localAccount.spool else { return }
        spool.spill(delivery) { [self] delivery in
            // Not on disk: as before, until the next try; if nobody has it any more, the sender is told.
            if delivery.holders > 0 {
                guard !hasEnded, let outstanding else { return }
                spillLater(delivery, outstanding)
            } else if !delivery.isDelivered {
                spool.shard.bounce(delivery.envelope, .resourceConstraint)
            }
        }
    }

    // MARK: What is left

    /// The session is dead: each stanza of its queue goes the way of the table in DESIGN §6.
    func settleOutstanding(isStopping: Bool) {
        guard let outstanding else { return }
        if let timer = outstanding.spillTimer { shard.loop.cancel(timer) }
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        if let timer = outstanding.answerTimer { shard.loop.cancel(timer) }
        var rows: [Int64] = []
        for delivery in outstanding.removeAll() {
            delivery.holders -= 1
            if delivery.isDelivered || delivery.holders > 0 { continue }
            if delivery.row != 0 { rows.append(delivery.row) } else { settle(delivery) }
        }
        localAccount.existingSpool?.release(rows)
    }

    /// One stanza that this session will not get.
    func settle(_ delivery: Delivery) {
        let stanza = delivery.stanza
        switch (stanza.kind, stanza.type) {
        case (.iq, .get), (.iq, .set):
            shard.bounce(delivery.envelope, .serviceUnavailable)
        case (.message, .chat), (.message, .normal):
            // As to the bare address, with the stamp of its arrival.
            let delayed = stanza.delayed(by: address.domain, since: delivery.stamp)
            let envelope = Envelope(delayed, receipt: delivery.receipt)
            delivery.receipt = nil
            if delivery.isStorable, let spool = localAccount.spool {
                // At once, so that what arrives from now on queues up behind it.
                spool.keep(envelope)
            } else {
                shard.loop.defer_ { [localAccount] in localAccount.redeliver(envelope) }
            }
        default:
            break
        }
    }
}

extension LocalAccount {
    /// To the bare address once more, behind what waits there.
    func redeliver(_ envelope: Envelope) {
        if isSpooling || sessionList.allSatisfy({ !$0.isInterested }) {
            undeliverable(envelope)
        } else {
            arrive(Envelope(envelope.stanza.with(to: JID(address)), receipt: envelope.receipt))
        }
    }
}
