import ModuleKit
import XMPPStream

/// A client's session from binding to its end: it outlives connections (XEP-0198 §5). On its account's home loop.
final class ClientSession: Session, TimerTarget {
    let ref: SessionRef
    let address: JID
    let localAccount: LocalAccount
    /// Lives as long as the loop does.
    unowned(unsafe) let shard: Shard

    /// Counted at its address from before the session has it until the session lets it go.
    var transport: (any StreamTransport)? {
        didSet { if let oldValue, oldValue !== transport { shard.admission.unseat(oldValue.peer) } }
    }
    /// Of the stream: what its stanzas speak that say nothing of it (RFC 6120 §4.7.4).
    var language: String?
    var presence: Stanza?
    var priority: Int8 = 0
    var state = StateContainer()
    /// What was sent and is not known to have arrived; made when something has to be tracked.
    var outstanding: Outstanding?
    /// The account's spool is sending to this session.
    var isDraining = false
    private(set) var hasEnded = false
    private var wasInterested = false
    /// Answers that the next stanza waits for (RFC 6120 §10.1).
    private var holds = 0
    private(set) var isPaused = false
    /// A timer will look whether the storage has caught up.
    private var awaitsStorage = false
    /// The account has sent too much: the next stanza waits for a timer.
    private var isSlowed = false
    var isSpeaking = false
    private var requests: [String: (answer: (Stanza?) -> Void, timer: TimerToken)] = [:]
    private var requestTimers: [Int: String] = [:]
    private var nextRequest = 0

    enum Tag {
        static let spill = -1
        static let resumeEnds = -2
        static let pressure = -3
        static let resumedAnyway = -4
        static let answer = -5
        static let slowed = -6
    }

    init(_ address: JID, of account: LocalAccount, over transport: any StreamTransport) {
        self.address = address
        localAccount = account
        shard = account.shard
        ref = account.shard.makeSessionRef()
        self.transport = transport
    }

    var account: any Account { localAccount }
    var kernel: any Kernel { shard }
    var isConnected: Bool { transport != nil }
    var isSecure: Bool { transport?.tls != nil }
    var table: HostTable? { localAccount.table }

    /// The session is complete: its transport's events come here from now on.
    func begin() {
        shard.sessions[ref.id] = self
        localAccount.add(self)
        for handler in table?.bound ?? [] { handler(self) }
    }

    // MARK: From the client

    func take(_ element: XMLTree) -> Directive {
        let receipt = outstanding?.openReceipt(of: ref, to: shard.office)
        shard.counts.received += 1
        let stanza: Stanza
        do {
            guard try mayBeFrom(element.root) else {
                // RFC 6120 §4.9.3.9.
                close(.invalidFrom)
                return .stop
            }
            stanza = try Stanza(element, from: address, language: language, addresses: shard.addresses)
                .withoutMarks(of: shard.world)
        } catch {
            // What cannot be read cannot be routed: the answer goes to the session itself (RFC 6120 §8.3).
            if let rejection = Stanza.rejection(of: element, because: error) {
                send(Envelope(rejection.with(to: address)))
            }
            return directive
        }
        handle(Envelope(stanza, receipt: receipt))
        if presence != nil || wasInterested { availabilityMayHaveChanged() }
        return directive
    }

    /// Whether the client says nothing of its address, or the truth.
    private func mayBeFrom(_ root: ElementView) throws(StanzaError) -> Bool {
        guard let from = try Stanza.sender(root, shard.addresses) else { return true }
        return from == address || from.isBare && from.bare == address.bare
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

    private func availabilityMayHaveChanged() {
        let isInterested = isInterested
        guard isInterested != wasInterested else { return }
        wasInterested = isInterested
        if isInterested {
            for handler in table?.available ?? [] { handler(self) }
        } else {
            localAccount.existingSpool?.stopDraining(self)
        }
    }

    // MARK: Waiting

    /// Whether the next stanza may be taken now.
    var directive: Directive {
        if hasEnded { return .stop }
        if holds > 0 || outstanding?.mustPause == true {
            isPaused = true
            return .pause
        }
        if shard.storage.isPressed {
            isPaused = true
            awaitStorage()
            return .pause
        }
        if let delay = localAccount.rate?.delay(shard.loop.now) {
            isPaused = true
            slow(delay)
            return .pause
        }
        return .proceed
    }

    /// Waits until the account may send again. Looks now and then, so that a session that has ended is not kept by it.
    private func slow(_ delay: Duration) {
        guard !isSlowed else { return }
        isSlowed = true
        shard.counts.slowed += 1
        _ = shard.loop.schedule(after: min(delay, .seconds(5)), self, tag: Tag.slowed)
    }

    private func slowedEnough() {
        isSlowed = false
        guard !hasEnded else { return }
        if isPaused, let delay = localAccount.rate?.delay(shard.loop.now) { slow(delay) } else { resumeIfPossible() }
    }

    /// The next stanza waits until `release`.
    func hold() {
        holds += 1
    }

    func release() {
        holds -= 1
        resumeIfPossible()
    }

    func resumeIfPossible() {
        guard isPaused, !isSlowed, holds == 0, outstanding?.mustPause != true, !hasEnded else { return }
        guard !shard.storage.isPressed else { return awaitStorage() }
        isPaused = false
        transport?.resumeReading()
    }

    // MARK: Requests of the server

    func request(_ payload: Element, within limit: Duration, then answer: @escaping (Stanza?) -> Void) {
        guard !hasEnded, requests.count < 100 else { return answer(nil) }
        nextRequest += 1
        let id = "m\(ref.id)-\(nextRequest)"
        let timer = shard.loop.schedule(after: limit, self, tag: nextRequest)
        requestTimers[nextRequest] = id
        requests[id] = (answer, timer)
        send(payload, type: "get", id: id)
    }

    /// The answer, if one comes, is dropped like every other to no request.
    func push(_ payload: Element) {
        nextRequest += 1
        send(payload, type: "set", id: "m\(ref.id)-\(nextRequest)")
    }

    private func send(_ payload: Element, type: String, id: String) {
        var iq = Element("iq", .client)
        iq[attribute: "type"] = type
        iq[attribute: "id"] = id
        iq.append(payload)
        send(Envelope(Stanza(iq).with(from: JID(address.bare), to: address)))
    }

    private func isAnswer(_ stanza: Stanza) -> Bool {
        if let to = stanza.to, to.bare != address.bare, to.bare.description != address.domain { return false }
        guard !requests.isEmpty, let id = stanza.id, let request = requests.removeValue(forKey: id) else {
            return false
        }
        shard.loop.cancel(request.timer)
        request.answer(stanza)
        return true
    }

    func timerFired(_ tag: Int) {
        switch tag {
        case Tag.spill: spillDue()
        case Tag.resumeEnds: end(.timedOut)
        case Tag.pressure:
            awaitsStorage = false
            resumeIfPossible()
        case Tag.resumedAnyway: finishResuming()
        case Tag.answer: answerDue()
        case Tag.slowed: slowedEnough()
        default:
            guard let id = requestTimers.removeValue(forKey: tag), let request = requests.removeValue(forKey: id) else {
                return
            }
            request.answer(nil)
        }
    }

    /// Looks again soon, as long as the storage alone is in the way.
    private func awaitStorage() {
        guard !awaitsStorage else { return }
        awaitsStorage = true
        _ = shard.loop.schedule(after: .milliseconds(100), self, tag: Tag.pressure)
    }

    // MARK: Ending

    enum Ending {
        /// The client said good-bye, or its connection was lost for good.
        case closed
        /// Nobody resumed it in time.
        case timedOut
        /// We ended it.
        case error(StreamError)
        /// The server stops: what is left is kept for the next start.
        case stopping
    }

    func close(_ error: StreamError) {
        end(.error(error))
    }

    func end(_ ending: Ending) {
        guard !hasEnded else { return }
        hasEnded = true
        let transport = transport
        self.transport = nil
        for handler in table?.closed ?? [] { handler(self) }
        presence = nil
        state[SilenceWatch.self]?.stop()
        shard.sessions[ref.id] = nil
        localAccount.remove(self)
        for request in requests.values {
            shard.loop.cancel(request.timer)
            request.answer(nil)
        }
        requests = [:]
        state[SilenceWatch.self]?.stop()
        let isStopping = if case .stopping = ending { true } else { false }
        // The session is not there any more when the client comes back: what is not acknowledged now, it sends again.
        if isStopping, let h = outstanding?.management?.received.durableH { transport?.sendAnswer(h: h) }
        settleOutstanding(isStopping: isStopping)
        localAccount.existingSpool?.stopDraining(self)
        localAccount.existingSpool?.sessionEnded(self)
        switch ending {
        case .error(let error): transport?.close(error)
        case .stopping: transport?.close(.systemShutdown)
        case .closed, .timedOut: transport?.close(nil)
        }
    }
}

extension ClientSession: StreamHandler {
    func received(_ element: XMLTree) -> Directive {
        guard !hasEnded else { return .stop }
        localAccount.rate?.spend(element.byteCount, shard.loop.now)
        switch element.root.namespace {
        case .client where Stanza.kind(of: element) != nil: return take(element)
        case .streamManagement: return manage(element.root)
        case .streams where element.root.isNamed("error"):
            end(.closed)
            return .stop
        case .tls where element.root.isNamed("starttls"):
            // RFC 6120 §5.4.2.2: it is not offered any more.
            transport?.send(Element("failure", .tls))
            end(.closed)
            return .stop
        default:
            if element.root.namespace == .sasl { shard.counts.authenticationsOutOfTurn += 1 }
            close(.unsupported(element.root))
            return .stop
        }
    }

    func streamOpened(_ header: StreamHeader) -> Directive {
        close(.badFormat)
        return .stop
    }

    func streamEnded() {
        end(.closed)
    }

    func streamFailed(_ error: StreamError) {
        close(error)
    }

    func writable() {
        if isDraining { localAccount.existingSpool?.goOn(self) }
    }

    func tlsEstablished() {}
    func rehomed() {}

    func disconnected(clean: Bool) {
        guard !hasEnded else { return }
        transport = nil
        if resumption == nil { end(.closed) } else { detach() }
    }
}
