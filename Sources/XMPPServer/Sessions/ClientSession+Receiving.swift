import ModuleKit
import XMPPStream

/// What a session keeps of its client's stanzas before it takes them.
struct Intake {
    /// A stanza that has to wait keeps all behind it waiting; what is read beyond that is bounded.
    static let mostBytes = 64 << 10
    static let mostStanzas = 256

    var held = UnackedQueue<XMLTree>(maxCount: mostStanzas, maxBytes: mostBytes)
    /// Behind what is held the session ends.
    var endsBehindHeld = false
    /// The transport reads no more until it is told to.
    var isPaused = false
    /// Answers that the next stanza waits for (RFC 6120 §10.1).
    var holds = 0
    /// A timer will look whether the storage has caught up.
    var awaitsStorage = false
    /// The account has sent too much: reading goes on after a timer.
    var isSlowed = false
    /// Held stanzas are being taken.
    var isTaking = false
    var credit = MailCredit()

    var isFull: Bool { held.count >= held.maxCount || held.byteCount >= held.maxBytes }
}

/// From the client.
extension ClientSession {
    var isPaused: Bool { intake.isPaused }

    /// Takes the stanza, or holds it behind those that have to wait. `<a/>` and `<r/>` pass them.
    func takeOrHold(_ element: XMLTree) -> Directive {
        if intake.held.isEmpty {
            guard let stanza = read(element) else { return directive }
            let isOwed = stanza.isOwedKeeping(by: address.bare)
            if !mustWait(isOwed) {
                take(stanza, isOwed)
                return directive
            }
        }
        _ = intake.held.append(element, bytes: element.byteCount)
        return directive
    }

    /// Whether the transport may read on.
    var directive: Directive {
        if hasEnded { return .stop }
        if let delay = localAccount.rate?.delay(shard.loop.now) {
            intake.isPaused = true
            slow(delay)
            return .pause
        }
        if intake.isFull {
            intake.isPaused = true
            return .pause
        }
        return .proceed
    }

    /// The next stanza waits: for an answer, for what was sent before, or for the disk if it has to be kept there.
    private func mustWait(_ isOwed: Bool) -> Bool {
        if intake.holds > 0 || outstanding?.mustPause == true || intake.credit.isSpent { return true }
        guard isOwed else { return false }
        if localAccount.charge.isOver { return true }
        guard shard.storage.isPressed else { return false }
        awaitStorage()
        return true
    }

    /// Nil: it is none that could be taken; the client was told, or the session has ended.
    private func read(_ element: XMLTree) -> Stanza? {
        do {
            guard try mayBeFrom(element.root) else {
                // RFC 6120 §4.9.3.9.
                close(.invalidFrom)
                return nil
            }
            return try Stanza(element, from: address, language: language, addresses: shard.addresses)
                .withoutMarks(of: shard.world)
        } catch {
            shard.counts.received += 1
            outstanding?.management?.received.receiveSafe()
            // What cannot be read cannot be routed: the answer goes to the session itself (RFC 6120 §8.3).
            if let rejection = Stanza.rejection(of: element, because: error) {
                send(Envelope(rejection.with(to: address)))
            }
            return nil
        }
    }

    /// Whether the client says nothing of its address, or the truth.
    private func mayBeFrom(_ root: ElementView) throws(StanzaError) -> Bool {
        guard let from = try Stanza.sender(root, shard.addresses) else { return true }
        return from == address || from.isBare && from.bare == address.bare
    }

    private func take(_ stanza: Stanza, _ isOwed: Bool) {
        shard.counts.received += 1
        var receipt: Receipt?
        if let outstanding {
            switch outstanding.receive(stanza, of: ref, isOwed: isOwed, to: shard.office) {
            case .new(let owed): receipt = owed
            case .repeated:
                shard.counts.repeated += 1
                return
            }
        }
        shard.charging(self) { handle(Envelope(stanza, receipt: receipt)) }
        if presence != nil || wasInterested { availabilityMayHaveChanged() }
    }

    private func handle(_ envelope: Envelope) {
        guard let table else { return }
        if envelope.stanza.kind == .iq, !envelope.stanza.isRequest, isAnswer(envelope.stanza) { return }
        guard table.received.wants(envelope.stanza) else { return sendOn(envelope) }
        var event = Received(session: self, envelope: envelope)
        switch table.received.run(&event, envelope.stanza) {
        case .handled: return
        case .reject(let error): shard.bounce(addressed(event.envelope), error)
        case .next: sendOn(event.envelope)
        }
    }

    private func sendOn(_ envelope: Envelope) {
        if envelope.stanza.kind == .presence, envelope.stanza.to == nil { return }
        shard.route(addressed(envelope))
    }

    /// Without `to` a stanza is for the account itself (RFC 6120 §10.3).
    private func addressed(_ envelope: Envelope) -> Envelope {
        guard envelope.stanza.to == nil else { return envelope }
        return Envelope(envelope.stanza.with(to: JID(address.bare)), receipt: envelope.receipt)
    }

    func availabilityMayHaveChanged() {
        let isInterested = isInterested
        guard isInterested != wasInterested else { return }
        wasInterested = isInterested
        if isInterested {
            for handler in table?.available ?? [] { handler(self) }
            localAccount.drainUnkept()
        } else {
            localAccount.existingSpool?.stopDraining(self)
        }
    }

    // MARK: Going on

    /// The next stanza waits until `release`.
    func hold() {
        intake.holds += 1
    }

    func release() {
        intake.holds -= 1
        goOn()
    }

    /// Something that stanzas waited for has come about: takes what may be taken, and reads on.
    func goOn() {
        guard !hasEnded, !intake.isTaking else { return }
        intake.isTaking = true
        defer { intake.isTaking = false }
        while let (element, _) = intake.held.entry(at: 0) {
            if let stanza = read(element) {
                let isOwed = stanza.isOwedKeeping(by: address.bare)
                guard !mustWait(isOwed) else { break }
                _ = intake.held.popFirst()
                take(stanza, isOwed)
            } else {
                _ = intake.held.popFirst()
            }
            guard !hasEnded else { return }
        }
        endIfDone()
        guard !hasEnded, intake.isPaused, !intake.isSlowed, !intake.isFull else { return }
        intake.isPaused = false
        transport?.resumeReading()
    }

    /// Waits until the account may send again. Looks now and then, so that a session that has ended is not kept by it.
    private func slow(_ delay: Duration) {
        guard !intake.isSlowed else { return }
        intake.isSlowed = true
        shard.counts.slowed += 1
        _ = shard.loop.schedule(after: min(delay, .seconds(5)), self, tag: Tag.slowed)
    }

    func slowedEnough() {
        intake.isSlowed = false
        guard !hasEnded else { return }
        if isPaused, let delay = localAccount.rate?.delay(shard.loop.now) { slow(delay) } else { goOn() }
    }

    /// Looks again soon, as long as the storage alone is in the way.
    private func awaitStorage() {
        guard !intake.awaitsStorage else { return }
        intake.awaitsStorage = true
        _ = shard.loop.schedule(after: .milliseconds(100), self, tag: Tag.pressure)
    }

    func storageMayBeReady() {
        intake.awaitsStorage = false
        goOn()
    }

    // MARK: The end of what comes

    /// How long stanzas of a client that is gone may wait to be taken.
    private static let leftoverLimit = Duration.seconds(30)

    /// The client sends nothing more. The session ends when the stanzas that it sent are taken and, if it still reads,
    /// their answers are on their way (RFC 6120 §4.4).
    func endBehindHeld() {
        let isFirst = !intake.endsBehindHeld
        intake.endsBehindHeld = true
        endIfDone()
        guard !hasEnded, isFirst else { return }
        _ = shard.loop.schedule(after: Self.leftoverLimit, self, tag: Tag.leftover)
    }

    func endIfDone() {
        guard intake.endsBehindHeld, intake.held.isEmpty else { return }
        if !isConnected || intake.holds == 0 && paced.isEmpty { end(.closed) }
    }

    /// The connection is lost, and the client sends again what was not taken.
    func dropHeld() {
        _ = intake.held.removeAll()
        intake.isPaused = false
    }
}
