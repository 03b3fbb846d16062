import ModuleKit
import XMPPStream

/// Stanzas that the client has not got: they go to disk while the session lives, and to others when it has ended.
extension ClientSession {
    // MARK: Spilling

    /// Messages that one turn hands to the disk: each is rendered for it.
    private static let portion = 64

    func spillLater(_ delivery: Delivery, _ outstanding: Outstanding) {
        guard delivery.isStorable, delivery.row == 0, !delivery.isDelivered else { return }
        if isConnected {
            awaitSpill(outstanding, after: shard.settings.streamManagement.spill)
        } else if !outstanding.isSpilling {
            spill(delivery)
        }
    }

    private func awaitSpill(_ outstanding: Outstanding, after delay: Duration) {
        guard outstanding.spillTimer == nil else { return }
        outstanding.spillTimer = shard.loop.schedule(after: delay, self, tag: Tag.spill)
    }

    /// Messages that the client has not acknowledged in time go to disk, so that no sender waits; without a connection
    /// everything does. Of many, a portion now and the rest when the loop has looked after others.
    func spillDue() {
        guard let outstanding, !hasEnded else { return }
        if let timer = outstanding.spillTimer { shard.loop.cancel(timer) }
        outstanding.spillTimer = nil
        guard !outstanding.isSpilling else { return }
        let wait = shard.settings.streamManagement.spill
        let now = shard.loop.now
        var count = 0
        for delivery in outstanding.unspilled() {
            let due = delivery.queuedAt.advanced(by: wait)
            guard !isConnected || due <= now else {
                // The rest came later.
                return awaitSpill(outstanding, after: .nanoseconds(due.nanoseconds - now.nanoseconds))
            }
            spill(delivery)
            count += 1
            if count == Self.portion { return spillOn(outstanding) }
        }
    }

    private func spillOn(_ outstanding: Outstanding) {
        outstanding.isSpilling = true
        shard.loop.later { [self] in
            outstanding.isSpilling = false
            spillDue()
        }
    }

    /// All of it, now: the server stops.
    func spillAll() {
        guard let outstanding else { return }
        for delivery in outstanding.unspilled() { spill(delivery) }
    }

    /// Another try for what is not on disk.
    private func spillRest() {
        guard !hasEnded, let outstanding, !outstanding.unspilled().isEmpty else { return }
        awaitSpill(outstanding, after: shard.settings.streamManagement.spill)
    }

    private func spill(_ delivery: Delivery) {
        guard delivery.row == 0, !delivery.isDelivered else { return }
        guard let spool = localAccount.spool else {
            // Nothing keeps messages for this account: its sender has been patient enough.
            delivery.receipt = nil
            return
        }
        spool.spill(delivery) { delivery, error in
            // Not on disk: as before, until the next try, by any session that has it; if none has it any more, the sender
            // is told.
            if delivery.holders > 0 {
                for session in spool.account.sessionList { session.spillRest() }
            } else if !delivery.isDelivered {
                spool.shard.bounce(delivery.envelope, error)
            }
        }
    }

    // MARK: What is left

    /// The session is dead: each stanza of its queue goes the way of the table in DESIGN §6.
    func settleOutstanding() {
        guard let outstanding else { return }
        if let timer = outstanding.spillTimer { shard.loop.cancel(timer) }
        if let timer = outstanding.resumeTimer { shard.loop.cancel(timer) }
        if let timer = outstanding.answerTimer { shard.loop.cancel(timer) }
        settle(outstanding.removeAll())
    }

    /// Stanzas that this session gives up: what is on disk is free for others, the rest finds its way.
    func settle(_ deliveries: [Delivery]) {
        var kept: [Delivery] = []
        var leftovers: [Delivery] = []
        for delivery in deliveries {
            delivery.holders -= 1
            if delivery.isDelivered || delivery.holders > 0 { continue }
            if delivery.row != 0 {
                kept.append(delivery)
            } else if isLeftToAccount(delivery) {
                leftovers.append(delivery)
            } else {
                settle(delivery)
            }
        }
        localAccount.existingSpool?.release(kept)
        leave(leftovers)
    }

    /// One stanza that this session will not get.
    func settle(_ delivery: Delivery) {
        if isLeftToAccount(delivery) { return leave([delivery]) }
        let stanza = delivery.stanza
        guard stanza.notice == nil else { return }
        switch (stanza.kind, stanza.type) {
        case (.iq, .get), (.iq, .set):
            shard.bounce(delivery.envelope, .serviceUnavailable)
        case (.message, .chat), (.message, .normal):
            // As to the bare address, with the stamp of its arrival.
            let delayed = stanza.delayed(by: address.domain, since: delivery.stamp)
            let envelope = Envelope(delayed, receipt: delivery.receipt)
            delivery.receipt = nil
            shard.loop.defer_ { [localAccount] in localAccount.redeliver(envelope) }
        default:
            break
        }
    }

    private func isLeftToAccount(_ delivery: Delivery) -> Bool {
        let type = delivery.stanza.type
        return delivery.isStorable && (type == .chat || type == .normal) && localAccount.spool != nil
    }

    /// At once, so that what arrives from now on queues up behind it.
    private func leave(_ deliveries: [Delivery]) {
        guard !deliveries.isEmpty else { return }
        localAccount.spool?.keep(leftovers: deliveries)
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
