import Logging
public import ModuleKit
import XMPPStream

/// A client's connection until it has a session: drives the negotiation machine, does what it asks for, and hands the
/// transport over (RFC 6120 §4 to §7). Begins on the loop that accepted, ends on the account's home loop.
final class ClientNegotiation: StreamHandler, TimerTarget, @unchecked Sendable {
    // Confined to the loop of `transport`; during the move to another loop nobody touches it.
    private let server: Server
    private let transport: any StreamTransport
    private var machine: C2SNegotiation
    private var timer: TimerToken?
    private var shard: Shard
    private var bytes = 0
    private var isOver = false
    private var hasLeft = false
    private var isHandedOver = false
    /// The machine waits for an answer of ours: the client's next element is held back.
    private var isWaiting = false
    private var isHeld = false
    /// Who has authenticated and not been told yet.
    private var authenticated: C2SNegotiation.Authenticated?
    /// Our header was sent on the stream as it is now.
    private var hasOpened = false
    /// What modules keep of the stream until it is authenticated.
    private(set) lazy var context = StreamContext()

    init(_ server: Server, _ transport: any StreamTransport, tls: TLSMode) {
        self.server = server
        self.transport = transport
        machine = C2SNegotiation(tls: tls)
        shard = server.shard(of: transport.loop)
    }

    private static let timeoutTag = 1

    func begin() {
        timer = shard.loop.schedule(after: server.limits.unauthenticated.timeout, self, tag: Self.timeoutTag)
    }

    func timerFired(_ tag: Int) {
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
        let result = machine.opened(header) { [shard, server] host in
            shard.world.hosts[host].map { server.policy(of: host, $0) }
        }
        switch result {
        case .respond(let header, let features):
            send(header)
            transport.send(XMLTree(features))
            return .proceed
        case .fail(let header, let error):
            if let header { send(header) }
            fail(error)
            return .stop
        }
    }

    func received(_ element: XMLTree) -> Directive {
        guard !isOver else { return .stop }
        bytes += element.byteCount
        // Each element is bounded by itself; this bounds how many of them there can be.
        guard bytes <= server.limits.unauthenticated.bytes else {
            fail(.policyViolation.saying("too much before a session"))
            return .stop
        }
        switch machine.received(element.root) {
        case .startTLS(let element):
            transport.send(XMLTree(element))
            hasOpened = false
            transport.startTLS()
            return .stop
        case .refuseTLS(let element):
            transport.send(XMLTree(element))
            close(nil)
            return .stop
        case .authentication(let result): return perform(result)
        case .bind(let request): return wait { self.bind(request) }
        case .resume(let request): return wait { self.resume(request) }
        case .request: return wait { self.answer(element) }
        case .reply(let element):
            transport.send(XMLTree(element))
            return .proceed
        case .close:
            close(nil)
            return .stop
        case .fail(let error):
            fail(error)
            return .stop
        }
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
    }

    /// RFC 6120 §4.9.1.2: an error before our header goes behind one.
    private func fail(_ error: StreamError) {
        guard !isOver else { return }
        if !hasOpened {
            send(StreamHeader(from: machine.host, id: Base64.encode(Crypto.random(12)), version: "1.0", language: "en"))
        }
        close(error)
    }

    private func close(_ error: StreamError?) {
        guard !isOver else { return }
        isOver = true
        transport.close(error)
    }

    private func leave() {
        if let timer { shard.loop.cancel(timer) }
        timer = nil
        if !hasLeft { server.admission.leave(transport.peer) }
        hasLeft = true
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

    // MARK: Authentication

    private func perform(_ result: C2SNegotiation.AuthenticationResult) -> Directive {
        switch result {
        case .challenge(let element):
            transport.send(XMLTree(element))
            return .proceed
        case .lookUp(let request): return wait { self.lookUp(request) }
        case .check(let check): return wait { self.compare(check) }
        case .authenticated(let authenticated):
            self.authenticated = authenticated
            move(to: authenticated.account)
            return .stop
        case .rejected(let rejection):
            server.count(\.rejected)
            shard.log.notice(
                "authentication_failed",
                metadata: [
                    "account": "\(rejection.account?.description ?? "-")", "address": "\(transport.peer.address)",
                    "condition": "\(rejection.failure.condition.rawValue)",
                ])
            transport.send(XMLTree(rejection.element))
            if let error = rejection.closing {
                close(error)
                return .stop
            }
            return .proceed
        }
    }

    /// Runs `work`, which answers the machine now or later; until then the client's next element waits.
    private func wait(_ work: () -> Void) -> Directive {
        isWaiting = true
        work()
        guard isWaiting else { return isOver && !isHandedOver ? .stop : .proceed }
        isHeld = true
        return .pause
    }

    /// The machine has its answer.
    func goOn() {
        isWaiting = false
        guard isHeld, !isOver else { return }
        isHeld = false
        transport.resumeReading()
    }

    private func answered(_ result: C2SNegotiation.AuthenticationResult?) {
        guard !isOver, let result else { return }
        // Another question keeps waiting by itself.
        switch result {
        case .lookUp(let request): lookUp(request)
        case .check(let check): compare(check)
        case .challenge, .authenticated, .rejected:
            isWaiting = false
            let directive = perform(result)
            if case .proceed = directive { goOn() }
        }
    }

    private func lookUp(_ request: CredentialRequest) {
        let (loop, account) = (shard.loop, request.account)
        shard.storage.read([]) { snapshot throws(StorageError) in
            try snapshot.account(host: account.domain, local: account.local)?.credentials ?? []
        } then: { [self] result in
            loop.post(.work { self.found(result, request.hashes) })
        }
    }

    private func found(_ result: Result<[[UInt8]], StorageError>, _ hashes: [HashFunction]) {
        guard !isOver else { return }
        switch result {
        case .success(let stored):
            let credentials = stored.compactMap { ScramCredential(text: String(decoding: $0, as: UTF8.self)) }
            let best = hashes.lazy.compactMap { hash in credentials.first { $0.hash == hash } }.first
            answered(machine.found(best))
        case .failure(let error):
            shard.log.error("credential_lookup_failed", metadata: ["reason": "\(error)"])
            answered(machine.authenticationFailed())
        }
    }

    private func compare(_ check: PasswordCheck) {
        let loop = shard.loop
        let isQueued = server.pool.run { [self] in
            let matches = check.matches()
            loop.post(.work { self.checked(matches) })
        }
        if !isQueued { answered(machine.authenticationFailed()) }
    }

    private func checked(_ matches: Bool) {
        guard !isOver else { return }
        answered(machine.checked(matches))
    }

    // MARK: Moving home

    private func move(to account: BareJID) {
        let home = server.office.loops[server.office.home(of: account)]
        isHeld = false
        if let timer { shard.loop.cancel(timer) }
        timer = nil
        transport.rehome(to: home)
    }

    func rehomed() {
        shard = server.shard(of: transport.loop)
        guard !isOver else { return }
        begin()
        if let authenticated { admit(authenticated) }
        authenticated = nil
    }

    /// The modules have the last word before the client hears that it is in.
    private func admit(_ authenticated: C2SNegotiation.Authenticated) {
        let table = shard.world.hosts[authenticated.account.domain]
        let event = Authenticated(
            account: authenticated.account, mechanism: authenticated.mechanism.rawValue, peer: transport.peer,
            tls: transport.tls)
        switch table?.verdict(on: event) ?? .close(.hostGone) {
        case .proceed:
            server.count(\.authenticated)
            transport.send(XMLTree(authenticated.success))
            transport.restart()
            hasOpened = false
        case .refuse(let reason, let text):
            guard let rejection = machine.refuseAuthenticated(SASLFailure(reason, text: text)) else { return }
            _ = perform(.rejected(rejection))
        case .close(let error):
            server.count(\.rejected)
            fail(error)
        }
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
        guard let account, account.exists, !shard.isStopping else {
            return refuse(account?.exists == false ? .notAuthorized : .resourceConstraint)
        }
        let resource = request.resource ?? Bind.makeResource()
        if let other = account.localSession(resource) {
            // RFC 6120 §7.7.2.2: the newer session has the resource.
            other.close(.conflict)
        }
        guard account.sessionCount < server.limits.authenticated.sessions else { return refuse(.resourceConstraint) }
        let address = JID(account.address, resource: resource)
        guard let answer = machine.bound(as: address) else { return }
        let session = ClientSession(address, of: account, over: transport)
        handOver(to: session)
        let answers = session.inlineAnswers(to: [])
        guard !session.hasEnded else { return }
        transport.send(XMLTree(Bind.result(answer, adding: answers)))
        session.begin()
        session.watchSilence()
    }

    private func refuse(_ error: StanzaError) {
        if let answer = machine.refuseBind(error) { transport.send(XMLTree(answer)) }
    }

    private func resume(_ request: ResumeRequest) {
        guard let account = machine.account else { return }
        shard.whenResident(account) { [self] account in
            guard !isOver else { return }
            guard let session = account?.resumable(request.previd), machine.resumed() else {
                let h = account?.lastH(of: request.previd)
                if let answer = machine.refuseResume(.itemNotFound, h: h) { transport.send(XMLTree(answer)) }
                return goOn()
            }
            handOver(to: session)
            _ = session.resume(over: transport, h: request.h)
        }
    }

    /// From here on the session hears the transport.
    private func handOver(to session: ClientSession) {
        isOver = true
        isHandedOver = true
        isWaiting = false
        leave()
        transport.limits = server.limits.authenticated.elements.xml
        transport.handler = session
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
