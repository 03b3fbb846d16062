import ModuleKit
import XMPPStream

/// A client's session from binding to its end: it outlives connections (XEP-0198 §5). On its account's home loop.
final class ClientSession: Session {
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
    var presence: Stanza? {
        didSet { boundAt = nil }
    }
    /// When it was bound, until it says something of its presence.
    private var boundAt: Instant?
    var priority: Int8 = 0
    var state = StateContainer()
    /// What was sent and is not known to have arrived; made when something has to be tracked.
    var outstanding: Outstanding?
    /// The account's spool is sending to this session.
    var isDraining = false
    private(set) var hasEnded = false
    var wasInterested = false
    var intake = Intake()
    var isSpeaking = false
    var requests = ServerRequests()
    /// What is sent in bulk, as the client takes it; the first one is under way.
    var paced: [() -> Bool] = []
    /// The next portion comes when the loop has looked after others.
    var isPacing = false
    /// What waits for a client that wants to be left alone; nil: it does not.
    var heldBack: HeldBack?
    /// In the shard's list of sessions without a connection: which entry, and what it weighs there.
    var detachment: (number: UInt64, bytes: Int)?

    enum Tag {
        static let spill = -1
        static let resumeEnds = -2
        static let pressure = -3
        static let resumedAnyway = -4
        static let answer = -5
        static let slowed = -6
        static let leftover = -7
    }

    init(_ address: JID, of account: LocalAccount, over transport: any StreamTransport) {
        self.address = address
        localAccount = account
        shard = account.shard
        ref = account.shard.makeSessionRef()
        self.transport = transport
        boundAt = shard.loop.now
    }

    var account: any Account { localAccount }
    var kernel: any Kernel { shard }
    var isConnected: Bool { transport != nil }
    /// How long a client may take from binding to its presence.
    private static let arrival = Duration.seconds(10)

    var isArriving: Bool {
        guard let boundAt else { return false }
        return shard.loop.now < boundAt.advanced(by: Self.arrival)
    }

    var isSecure: Bool { transport?.tls != nil }
    var table: HostTable? { localAccount.table }

    /// The session is complete: its transport's events come here from now on.
    func begin() {
        shard.sessions[ref.id] = self
        localAccount.add(self)
        for handler in table?.bound ?? [] { handler(self) }
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
        for (_, handler) in table?.closed ?? [] { handler(self) }
        presence = nil
        state[SilenceWatch.self]?.stop()
        shard.sessions[ref.id] = nil
        shard.detached.remove(self)
        localAccount.remove(self)
        for request in requests.removeAll() {
            shard.loop.cancel(request.timer)
            request.answer(nil)
        }
        intake = Intake()
        paced = []
        state[SilenceWatch.self]?.stop()
        let isStopping = if case .stopping = ending { true } else { false }
        // The session is not there any more when the client comes back: what is not acknowledged now, it sends again.
        if isStopping, let h = outstanding?.management?.received.durableH { transport?.sendAnswer(h: h) }
        settleOutstanding()
        localAccount.existingSpool?.stopDraining(self)
        switch ending {
        case .error(let error): transport?.close(error)
        case .stopping: transport?.close(.systemShutdown)
        case .closed, .timedOut: transport?.close(nil)
        }
    }
}

extension ClientSession: TimerTarget {
    func timerFired(_ tag: Int) {
        switch tag {
        case Tag.spill: spillDue()
        case Tag.resumeEnds: end(.timedOut)
        case Tag.pressure: storageMayBeReady()
        case Tag.resumedAnyway: finishResuming()
        case Tag.answer: answerDue()
        case Tag.slowed: slowedEnough()
        case Tag.leftover: if intake.endsBehindHeld { end(.closed) }
        default: requests.remove(number: tag)?.answer(nil)
        }
    }
}

extension ClientSession: StreamHandler {
    func received(_ element: XMLTree) -> Directive {
        guard !hasEnded else { return .stop }
        localAccount.rate?.spend(element.byteCount, shard.loop.now)
        switch element.root.namespace {
        case .client where Stanza.kind(of: element) != nil: return takeOrHold(element)
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
            if isTaken(element.root) { return directive }
            if element.root.namespace == .sasl { shard.counts.authenticationsOutOfTurn += 1 }
            close(.unsupported(element.root))
            return .stop
        }
    }

    /// By a module that the element is for.
    private func isTaken(_ element: ElementView) -> Bool {
        guard let taker = table?.elements.first(where: { $0.namespace == element.namespace }) else { return false }
        return taker.handler(self, element)
    }

    func streamOpened(_ header: StreamHeader) -> Directive {
        close(.badFormat)
        return .stop
    }

    func streamEnded() {
        endBehindHeld()
    }

    func streamFailed(_ error: StreamError) {
        close(error)
    }

    func writable() {
        writeOn()
        pace()
        if isDraining { localAccount.existingSpool?.goOn(self) }
    }

    func tlsEstablished() {}
    func rehomed() {}

    func disconnected(clean: Bool) {
        guard !hasEnded else { return }
        transport = nil
        if resumption != nil, !intake.endsBehindHeld { detach() } else { endBehindHeld() }
    }
}
