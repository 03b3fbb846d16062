import Testing
import XMPPCore
import XMPPStream

/// A stream driven by hand, with what a driver knows; what either side says goes as bytes through a framing. A class,
/// because `#expect` cannot hold what is not copyable.
final class Stream {
    private var negotiation: C2SNegotiation
    private let policy: HostPolicy
    fileprivate let toServer: Wire
    fileprivate let toClient: Wire
    /// The addresses in the client's certificate.
    var certificate: [String] = []
    fileprivate var hasFailed = false
    /// The client has authenticated: its next header begins a new stream.
    fileprivate var mustRestart = false

    init(
        _ framing: FramingKind, _ tls: TLSMode = .required, name: String = "",
        policy: HostPolicy = HostPolicy(authentication: Host.policy)
    ) {
        negotiation = C2SNegotiation(tls: tls, name: name, random: .fixed(Array("SERVER".utf8)))
        self.policy = policy
        (toServer, toClient) = (Wire(framing), Wire(framing))
    }

    var host: String? { negotiation.host }
    var account: BareJID? { negotiation.account }
    var isSecure: Bool { negotiation.isSecure }
    var outOfTurn: Int { negotiation.outOfTurn }
    var isEnded: Bool { negotiation.isEnded || hasFailed }

    func open(_ header: StreamHeader = Client.header()) -> C2SNegotiation.OpenResult {
        if mustRestart { restart() }
        switch toServer.carry(header) {
        case .failure(let error):
            hasFailed = true
            return .fail(nil, told(error))
        case .success(let header): return hand(header)
        }
    }

    func send(_ element: Element) -> C2SNegotiation.ElementResult {
        // No framing lets an element through where a header has to be.
        guard toServer.isOpen else { return hand(element) }
        switch toServer.carry(element) {
        case .failure(let error):
            hasFailed = true
            return .fail(told(error))
        case .success(let tree): return told(negotiation.received(tree.root))
        }
    }

    /// Past the framing: what it would not let through.
    func hand(_ header: StreamHeader) -> C2SNegotiation.OpenResult {
        let (policy, certificate) = (policy, certificate)
        return told(
            negotiation.opened(
                header, serving: { ["example.net", "example.org"].contains($0) ? policy : nil },
                certified: { _ in certificate }))
    }

    func hand(_ element: Element) -> C2SNegotiation.ElementResult {
        told(negotiation.received(XMLTree(element).root))
    }

    func tlsEstablished(_ bindings: ChannelBindings) {
        negotiation.tlsEstablished(bindings)
        if negotiation.isSecure { restart() }
    }

    func found(_ credentials: [ScramCredential]) -> C2SNegotiation.AuthenticationResult? {
        negotiation.found(credentials).map { told($0) }
    }

    func foundAccount(_ exists: Bool) -> C2SNegotiation.AuthenticationResult? {
        negotiation.foundAccount(exists).map { told($0) }
    }

    func authenticationFailed() -> C2SNegotiation.AuthenticationResult? {
        negotiation.authenticationFailed().map { told($0) }
    }

    func checked(_ matches: Bool) -> C2SNegotiation.AuthenticationResult? {
        negotiation.checked(matches).map { told($0) }
    }

    func refuseAuthenticated(_ failure: SASLFailure) -> C2SNegotiation.Rejection? {
        guard let rejection = negotiation.refuseAuthenticated(failure) else { return nil }
        mustRestart = false
        return told(rejection)
    }

    func bound(as address: JID) -> Element? {
        negotiation.bound(as: address).map { told($0) }
    }

    func refuseBind(_ error: StanzaError) -> Element? {
        negotiation.refuseBind(error).map { told($0) }
    }

    func resumed() -> Bool {
        negotiation.resumed()
    }

    func refuseResume(_ condition: StanzaError.Condition, h: UInt32? = nil) -> Element? {
        negotiation.refuseResume(condition, h: h).map { told($0) }
    }

    /// As far as features over TLS.
    func secure(_ bindings: ChannelBindings = Host.bindings) -> C2SNegotiation.OpenResult {
        _ = open()
        _ = send(Element("starttls", .tls))
        tlsEstablished(bindings)
        return open()
    }

    func plain(_ password: String = "wherefore") -> C2SNegotiation.AuthenticationResult? {
        let result = send(Client.auth("PLAIN", "\0romeo\0\(password)"))
        guard case .authentication(.lookUp(let request)) = result, case .check(let check) = found(Host.find(request))
        else { return nil }
        return checked(check.matches())
    }

    /// As far as the features of an authenticated stream.
    func authenticate() -> C2SNegotiation.OpenResult {
        _ = secure()
        _ = plain()
        return open()
    }
}

// MARK: What the client is told

extension Stream {
    fileprivate func restart() {
        mustRestart = false
        toServer.restart()
        toClient.restart()
    }

    /// As the client reads it, where it has a stream to read it in.
    fileprivate func told(_ element: Element) -> Element {
        guard toClient.isOpen, case .success(let tree) = toClient.carry(element) else { return element }
        return tree.root.element
    }

    fileprivate func told(_ error: StreamError) -> StreamError {
        #expect(told(error.element) == error.element)
        return error
    }

    fileprivate func told(_ header: StreamHeader) -> StreamHeader {
        guard case .success(let read) = toClient.carry(header) else { return header }
        return read
    }

    fileprivate func told(_ rejection: C2SNegotiation.Rejection) -> C2SNegotiation.Rejection {
        var rejection = rejection
        rejection.element = told(rejection.element)
        rejection.closing = rejection.closing.map { told($0) }
        return rejection
    }

    fileprivate func told(_ result: C2SNegotiation.OpenResult) -> C2SNegotiation.OpenResult {
        switch result {
        case .respond(let header, let features): .respond(told(header), features: told(features))
        case .fail(let header, let error): .fail(header.map { told($0) }, told(error))
        }
    }

    fileprivate func told(_ result: C2SNegotiation.AuthenticationResult) -> C2SNegotiation.AuthenticationResult {
        switch result {
        case .challenge(let element): return .challenge(told(element))
        case .lookUp, .check, .find: return result
        case .authenticated(var authenticated):
            authenticated.success = told(authenticated.success)
            mustRestart = true
            return .authenticated(authenticated)
        case .rejected(let rejection): return .rejected(told(rejection))
        }
    }

    fileprivate func told(_ result: C2SNegotiation.ElementResult) -> C2SNegotiation.ElementResult {
        switch result {
        case .startTLS(let element): .startTLS(told(element))
        case .refuseTLS(let element): .refuseTLS(told(element))
        case .authentication(let result): .authentication(told(result))
        case .reply(let element): .reply(told(element))
        case .fail(let error): .fail(told(error))
        case .bind, .resume, .request, .close: result
        }
    }
}

extension C2SNegotiation.OpenResult {
    var features: Element? {
        guard case .respond(_, let features) = self else { return nil }
        return features
    }

    var error: StreamError.Condition? {
        guard case .fail(_, let error) = self else { return nil }
        return error.condition
    }
}

extension C2SNegotiation.ElementResult {
    var error: StreamError.Condition? {
        guard case .fail(let error) = self else { return nil }
        return error.condition
    }

    var rejection: C2SNegotiation.Rejection? {
        guard case .authentication(.rejected(let rejection)) = self else { return nil }
        return rejection
    }
}

extension Element {
    /// The names of the features, the mechanisms in brackets.
    var outline: [String] {
        elements.map { feature in
            feature.elements.isEmpty || feature.name == "starttls"
                ? feature.name
                : "\(feature.name)["
                    + feature.elements.map { $0.text + ($0[attribute: "type"] ?? "") }.joined(separator: " ") + "]"
        }
    }
}
