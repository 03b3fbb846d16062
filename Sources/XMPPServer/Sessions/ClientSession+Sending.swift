import ModuleKit
import XMPPStream

/// To the client.
extension ClientSession {
    /// Bytes that may wait for the kernel before all that is paced pauses.
    var mostPending: Int { min(64 << 10, shard.settings.limits.authenticated.unread / 2) }
    /// Stanzas without an answer before a drain pauses.
    private static let drainWindow = 200

    func send(_ envelope: Envelope) {
        guard !hasEnded else { return settle(Delivery(envelope, stamp: shard.wallClock)) }
        if outstanding?.management == nil, envelope.receipt == nil, heldBack == nil {
            // The usual case without stream management: nobody waits, nothing is tracked.
            if let stanza = passed(envelope.stanza) { write(stanza, receipt: nil) }
            return
        }
        send(Delivery(envelope, stamp: shard.wallClock))
    }

    /// Sends a stanza that other sessions may hold as well, or that has a row in the spool.
    func send(_ delivery: Delivery) {
        guard !hasEnded else { return settle(delivery) }
        guard let stanza = passed(delivery.stanza, refused: { drop(delivery) }) else { return }
        if let heldBack {
            if waits(delivery, stanza, in: heldBack) { return }
            guard !hasEnded else { return settle(delivery) }
        }
        put(delivery, stanza)
    }

    /// Behind the modules and what they hold back.
    func put(_ delivery: Delivery, _ stanza: Stanza) {
        // What nobody keeps has been handed on now.
        if !delivery.isStorable { delivery.receipt = nil }
        let outstanding = obtainOutstanding()
        delivery.holders += 1
        delivery.queuedAt = shard.loop.now
        let fits = outstanding.append(delivery, stanza)
        if outstanding.management == nil {
            write(stanza, receipt: Receipt(.taken, of: ref, sequence: outstanding.makeTaken(), to: shard.office))
        } else if isConnected {
            writeOn()
        } else {
            shard.detached.grew(self)
        }
        spillLater(delivery, outstanding)
        if !fits || leavesUnread(outstanding) { overflow() }
    }

    /// The client does not take what is sent. What a resumption brings may be more, and goes at the client's pace.
    private func leavesUnread(_ outstanding: Outstanding) -> Bool {
        isConnected && !outstanding.isResuming && !outstanding.isCatchingUp
            && outstanding.unwrittenBytes > shard.settings.limits.authenticated.unread
    }

    /// Writes of the queue what the client can take now (DESIGN: one paced writer).
    func writeOn() {
        guard let outstanding, let transport, outstanding.management != nil, !outstanding.isResuming else { return }
        let policy = outstanding.management?.policy ?? AckRequestPolicy()
        while transport.pendingBytes <= mostPending, let queued = outstanding.nextToWrite() {
            write(
                outstanding.isCatchingUp ? late(queued.stanza, queued.delivery) : queued.stanza, receipt: nil)
            guard self.transport === transport else { return }
            if outstanding.management?.sent.send(policy) == true { transport.sendRequest() }
        }
        if outstanding.hasUnwritten { transport.notifyWhenWritable() } else { outstanding.caughtUp() }
        speakAtEndOfTurn()
    }

    /// What waited says since when (XEP-0203 §2; an IQ has no place for it).
    func late(_ stanza: Stanza, _ delivery: Delivery) -> Stanza {
        stanza.kind == .iq ? stanza : stanza.delayed(by: address.domain, since: delivery.stamp)
    }

    /// The stanza as the modules let it through.
    private func passed(_ stanza: Stanza, refused: () -> Void = {}) -> Stanza? {
        guard let table else { return nil }
        guard table.sending.wants(stanza) else { return stanza }
        var event = Sending(session: self, stanza: stanza)
        switch table.sending.run(&event, stanza) {
        case .next: return event.stanza
        case .handled: return nil
        case .reject:
            refused()
            return nil
        }
    }

    /// A message that has been waiting was refused: it waits no longer.
    private func drop(_ delivery: Delivery) {
        guard delivery.row != 0, delivery.holders == 0, !delivery.isDelivered else { return }
        delivery.isDelivered = true
        localAccount.existingSpool?.delete([delivery.row])
    }

    func write(_ stanza: Stanza, receipt: Receipt?) {
        guard let transport else { return }
        shard.counts.delivered += 1
        transport.send(stanza, receipt: receipt)
        checkUnread(transport)
    }

    /// A client that asks and does not read is cut off as well.
    func checkUnread(_ transport: any StreamTransport) {
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
        guard resumption != nil, let outstanding, outstanding.isWithinBounds else {
            return endSoon(.resourceConstraint.saying("too much is waiting for this client"))
        }
        disconnect(.resourceConstraint)
    }

    /// Not within a fan-out that is walking over the account's sessions.
    private func endSoon(_ error: StreamError) {
        shard.loop.defer_ { [self] in end(.error(error)) }
    }

    /// How many more stanzas of a drain the session can take now; what arrives meanwhile needs room as well.
    var drainRoom: Int {
        guard hasRoom else { return 0 }
        guard let queue = outstanding?.queue else { return Self.drainWindow }
        guard queue.byteCount < queue.maxBytes / 4 else { return 0 }
        return min(Self.drainWindow, queue.maxCount / 2) - queue.count
    }

    /// Whether the client has taken nearly all that was sent. False: `writable()` follows.
    var hasRoom: Bool {
        guard let transport, !hasEnded, outstanding?.isResuming != true else { return false }
        if transport.pendingBytes <= mostPending, outstanding?.hasUnwritten != true { return true }
        transport.notifyWhenWritable()
        return false
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
            if !intake.held.isEmpty { goOn() }
        }
    }
}
