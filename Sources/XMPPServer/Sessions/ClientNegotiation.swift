import Logging
public import ModuleKit
import XMPPStream

/// A client's connection until it has a session: drives the negotiation machine, does what it asks for, and hands the
/// transport over (RFC 6120 §4 to §7). Begins on the loop that accepted, ends on the account's home loop.
final class ClientNegotiation: StreamHandler, TimerTarget, @unchecked Sendable {
    // Confined to the loop of `transport`; during the move to another loop nobody touches it.
    let server: Server
    let transport: any StreamTransport
    var machine: C2SNegotiation
    private var timer: TimerToken?
    var shard: Shard
    /// Those of the moment when it connected.
    private let limits: LimitsConfig
    /// Of the stream as it was opened last.
    private var language: String?
    private var bytes = 0
    var isOver = false
    private var hasLeft = false
    /// Counts as logged in at its address; with the session that goes over to it.
    private var isSeated = false
    var isHandedOver = false
    /// The machine waits for an answer of ours: the client's next element is held back.
    var isWaiting = false
    var isHeld = false
    /// Who has authenticated and not been told yet.
    var authenticated: C2SNegotiation.Authenticated?
    /// The account and password that it has shown; nil without a name.
    var credential: CredentialStamp?
    /// A password that is being tried.
    var attempt: LoginThrottle.Attempt?
    /// What is done when the attempt has waited long enough.
    var delayed: (work: () -> Void, timer: TimerToken)?
    /// What the account had when its password came, if it lacks keys that are offered.
    var incomplete: IncompleteCredentials?
    /// The name that the client got until its session ends; it has no session yet.
    var temporary: BareJID?
    var trip: Trip?
    /// Our header was sent on the stream as it is now.
    private var hasOpened = false
    /// For the session that it does not have yet.
    private var early: [XMLTree] = []
    /// Most of those.
    private static let mostEarly = 8
    /// What modules keep of the stream until it is authenticated.
    private(set) lazy var context = StreamContext()

    init(_ server: Server, _ transport: any StreamTransport, tls: TLSMode) {
        self.server = server
        self.transport = transport
        shard = server.shard(of: transport.loop)
        machine = C2SNegotiation(tls: tls, name: shard.settings.name)
        limits = shard.settings.limits
        transport.limits = limits.unauthenticated.elements.xml
    }

    private static let timeoutTag = 1
    static let delayTag = 2

    func begin() {
        shard.negotiations[ObjectIdentifier(self)] = self
        timer = shard.loop.schedule(after: limits.unauthenticated.timeout, self, tag: Self.timeoutTag)
    }

    func timerFired(_ tag: Int) {
        guard tag == Self.timeoutTag else { return waitedLongEnough() }
        timer = nil
        server.count(\.timedOut)
        fail(.connectionTimeout)
    }

    // MARK: Stream

    private func send(_ header: StreamHeader) {
        hasOpened = true
        transport.open(header)
    }

    func streamOpened(_ header: StreamHeader) -> Directive {
        guard !isOver else { return .stop }
        language = header.language.flatMap { Self.isLanguage($0) ? $0 : nil }
        let result = machine.opened(
            header, serving: { [shard, server] host in shard.policy(of: host, secret: server.secret) },
            certified: { [transport] host in transport.certifiedAddresses(for: host) })
        switch result {
        case .respond(let header, let features):
            send(header)
            transport.send(features)
            return .proceed
        case .fail(let header, let error):
            if let header { send(header) }
            fail(error)
            return .stop
        }
    }

    /// What a language tag is made of (RFC 5646 §2.1), no longer than any real one.
    private static func isLanguage(_ tag: String) -> Bool {
        (1...35).contains(tag.utf8.count)
            && tag.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x61...0x7A).contains(byte | 0x20) || byte == UInt8(ascii: "-")
            }
    }

    func received(_ element: XMLTree) -> Directive {
        guard !isOver else { return .stop }
        bytes += element.byteCount
        // Each element is bounded by itself; this bounds how many of them there can be.
        guard bytes <= limits.unauthenticated.bytes else {
            fail(.policyViolation.saying("too much before a session"))
            return .stop
        }
        if machine.isUnbound, isForSession(element) {
            guard early.count < Self.mostEarly else {
                fail(.policyViolation.saying("too much before a session"))
                return .stop
            }
            early.append(element)
            return .proceed
        }
        let outOfTurn = machine.outOfTurn
        let result = machine.received(element.root)
        if machine.outOfTurn != outOfTurn { server.count(\.outOfTurn) }
        switch result {
        case .startTLS(let element):
            transport.send(element)
            hasOpened = false
            transport.startTLS()
            return .stop
        case .refuseTLS(let element):
            transport.send(element)
            close(nil)
            return .stop
        case .authentication(let result): return perform(result)
        case .bind(let request): return wait { self.bind(request) }
        case .resume(let request): return wait { self.resume(request) }
        case .request: return wait { self.answer(element) }
        case .reply(let element):
            transport.send(element)
            return .proceed
        case .close:
            close(nil)
            return .stop
        case .fail(let error):
            fail(error)
            return .stop
        }
    }

    /// A module takes it from sessions.
    private func isForSession(_ element: XMLTree) -> Bool {
        guard let host = machine.host, let elements = shard.world.hosts[host]?.elements else { return false }
        return elements.contains { $0.namespace == element.root.namespace }
    }

    func tlsEstablished() {
        machine.tlsEstablished(
            ChannelBindings(
                exporter: transport.channelBinding(.tlsExporter),
                serverEndPoint: transport.channelBinding(.tlsServerEndPoint)))
    }

    func streamEnded() { close(nil) }
    func streamFailed(_ error: StreamError) { fail(error) }
    func writable() {}

    func disconnected(clean: Bool) {
        isOver = true
        leave()
        freeTemporary()
    }

    /// RFC 6120 §4.9.1.2: an error before our header goes behind one.
    private func fail(_ error: StreamError) {
        guard !isOver else { return }
        if !hasOpened {
            send(StreamHeader(from: machine.name, id: Base64.encode(Crypto.random(12)), version: "1.0", language: "en"))
        }
        close(error)
    }

    func close(_ error: StreamError?) {
        guard !isOver else { return }
        isOver = true
        transport.close(error)
    }

    /// A reload may have taken the host out that the stream is for.
    func worldChanged() {
        if let host = machine.host, shard.world.hosts[host] == nil { fail(.hostGone) }
    }

    func stopTimer() {
        shard.negotiations[ObjectIdentifier(self)] = nil
        if let timer { shard.loop.cancel(timer) }
        timer = nil
    }

    private func leave() {
        stopTimer()
        giveUpAttempt()
        if !hasLeft { server.admission.leave(transport.peer) }
        hasLeft = true
        if isSeated, !isHandedOver { server.admission.unseat(transport.peer) }
        isSeated = false
    }

    // MARK: Requests

    var host: String? { machine.host }
    var peer: PeerInfo { transport.peer }

    private func answer(_ element: XMLTree) {
        guard let host = machine.host, let table = shard.world.hosts[host] else { return fail(.hostGone) }
        serve(element, at: host, table, on: shard)
    }

    func send(_ stanza: Stanza) {
        if !isOver { transport.send(stanza, receipt: nil) }
    }

    // MARK: Moving home

    func move(to account: BareJID) {
        let home = server.office.loops[server.office.home(of: account)]
        isHeld = false
        stopTimer()
        transport.rehome(to: home)
    }

    func rehomed() {
        shard = server.shard(of: transport.loop)
        guard !isOver else { return }
        begin()
        worldChanged()
        guard !isOver else { return }
        if let authenticated { admit(authenticated) }
        authenticated = nil
        arrived()
    }

    /// The modules have the last word before the client hears that it is in.
    private func admit(_ authenticated: C2SNegotiation.Authenticated) {
        let table = shard.world.hosts[authenticated.account.domain]
        let event = Authenticated(
            account: authenticated.account, mechanism: authenticated.mechanism.rawValue, peer: transport.peer,
            tls: transport.tls)
        switch table?.verdict(on: event) ?? .close(.hostGone) {
        case .proceed:
            isSeated = isSeated || server.admission.seat(transport.peer)
            guard isSeated else { return refuseLogin(.crowded) }
            if authenticated.mechanism == .anonymous {
                guard shard.makeTemporary(authenticated.account) else { return refuseLogin(.temporary) }
                temporary = authenticated.account
            }
            server.count(\.authenticated)
            transport.send(authenticated.success)
            transport.restart()
            hasOpened = false
        case .refuse(let reason, let text):
            refuseLogin(SASLFailure(reason, text: text))
        case .close(let error):
            server.count(\.rejected)
            fail(error)
        }
    }

    private func refuseLogin(_ failure: SASLFailure) {
        guard let rejection = machine.refuseAuthenticated(failure) else { return }
        _ = perform(.rejected(rejection))
    }

    // MARK: Session

    private func bind(_ request: BindRequest) {
        guard let account = machine.account else { return }
        shard.whenResident(account) { [self] account in
            guard !isOver else { return }
            bind(request, account)
            goOn()
        }
    }

    private func bind(_ request: BindRequest, _ account: LocalAccount?) {
        guard shard.world.hosts[machine.account?.domain ?? ""] != nil else { return fail(.hostGone) }
        guard let account, !shard.isStopping else { return refuse(.resourceConstraint) }
        // RFC 6120 §7.6.2.2. A name that was free may have become somebody's account since.
        guard account.exists, account.isTemporary == (temporary != nil) else { return refuse(.notAllowed) }
        guard isStillAllowed(account) else { return expired() }
        var resource = request.resource ?? Bind.makeResource()
        if let other = account.localSession(resource) {
            // RFC 6120 §7.7.2.2 leaves the choice to the server.
            shard.counts.conflicts += 1
            switch shard.settings.limits.authenticated.conflict {
            case .refuse where other.isConnected: return refuse(.conflict)
            case .rename where other.isConnected: resource = Bind.makeResource()
            case .replace, .refuse, .rename: other.close(.conflict)
            }
        }
        guard account.sessionCount < shard.settings.limits.authenticated.sessions else {
            return refuse(.resourceConstraint)
        }
        let address = JID(account.address, resource: resource)
        guard let answer = machine.bound(as: address) else { return }
        let session = ClientSession(address, of: account, over: transport)
        handOver(to: session)
        let answers = session.inlineAnswers(to: [])
        guard !session.hasEnded else { return }
        transport.send(Bind.result(answer, adding: answers))
        session.begin()
        session.watchSilence()
        for element in early { _ = session.received(element) }
    }

    /// Whether the client could still authenticate. Since then the password may have been changed, or the account removed
    /// and another one made of that name.
    private func isStillAllowed(_ account: LocalAccount) -> Bool {
        guard let current = account.credential else { return account.isTemporary && temporary != nil }
        return credential?.isValid(for: current) == true
    }

    /// As the sessions that the same password opened.
    private func expired() {
        shard.log.notice("credential_expired", metadata: ["account": "\(machine.account?.description ?? "-")"])
        fail(.notAuthorized)
    }

    private func refuse(_ error: StanzaError) {
        if let answer = machine.refuseBind(error) { transport.send(answer) }
    }

    private func resume(_ request: ResumeRequest) {
        guard let account = machine.account else { return }
        if temporary != nil, let other = ResumeID.account(in: request.previd, at: account.domain) {
            return resume(request, of: other)
        }
        shard.whenResident(account) { [self] account in
            guard !isOver else { return }
            if let account, account.exists, !isStillAllowed(account) { return expired() }
            guard let session = account?.resumable(request.previd), machine.resumed() else {
                let h = account?.lastH(of: request.previd)
                if let answer = machine.refuseResume(.itemNotFound, h: h) { transport.send(answer) }
                return goOn()
            }
            resume(session, h: request.h)
        }
    }

    func resume(_ session: ClientSession, h: UInt32) {
        // The session stays as it is, for a client that knows better (XEP-0198 §6).
        if let error = session.refusal(ofResumeAt: h) { return fail(error) }
        handOver(to: session)
        session.resume(over: transport, h: h)
    }

    /// From here on the session hears the transport.
    func handOver(to session: ClientSession) {
        isOver = true
        isHandedOver = true
        isWaiting = false
        temporary = nil
        leave()
        transport.limits = shard.settings.limits.authenticated.elements.xml
        transport.handler = session
        session.language = language
        if isHeld { shard.loop.defer_ { [transport] in transport.resumeReading() } }
    }
}

extension LimitsConfig.Elements {
    /// As the parser takes them.
    public var xml: XMLLimits {
        XMLLimits(
            maxElementBytes: UInt32(clamping: bytes), maxTokenBytes: UInt32(clamping: min(bytes, 128 << 10)),
            maxDepth: UInt16(clamping: depth), maxAttributes: UInt16(clamping: attributes),
            maxElements: UInt32(clamping: count))
    }
}
