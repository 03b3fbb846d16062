import Testing
import XMPPCore
import XMPPStream

/// A stream driven by hand, with what a driver knows. A class, because `#expect` cannot hold what is not copyable.
final class Stream {
    private var negotiation: C2SNegotiation
    private let policy: HostPolicy

    init(_ tls: TLSMode = .required, policy: HostPolicy = HostPolicy(authentication: Host.policy)) {
        negotiation = C2SNegotiation(tls: tls, random: .fixed(Array("SERVER".utf8)))
        self.policy = policy
    }

    var host: String? { negotiation.host }
    var account: BareJID? { negotiation.account }
    var isSecure: Bool { negotiation.isSecure }
    var isEnded: Bool { negotiation.isEnded }

    func open(_ header: StreamHeader = Client.header()) -> C2SNegotiation.OpenResult {
        let policy = policy
        return negotiation.opened(header) { ["example.net", "example.org"].contains($0) ? policy : nil }
    }

    func send(_ element: Element) -> C2SNegotiation.ElementResult {
        negotiation.received(view(element))
    }

    func tlsEstablished(_ bindings: ChannelBindings) {
        negotiation.tlsEstablished(bindings)
    }

    func found(_ credential: ScramCredential?) -> C2SNegotiation.AuthenticationResult? {
        negotiation.found(credential)
    }

    func authenticationFailed() -> C2SNegotiation.AuthenticationResult? {
        negotiation.authenticationFailed()
    }

    func bound(as address: JID) -> Element? {
        negotiation.bound(as: address)
    }

    func refuseBind(_ error: StanzaError) -> Element? {
        negotiation.refuseBind(error)
    }

    func resumed() -> Bool {
        negotiation.resumed()
    }

    func refuseResume(_ condition: StanzaError.Condition, h: UInt32? = nil) -> Element? {
        negotiation.refuseResume(condition, h: h)
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
        return negotiation.checked(check.matches())
    }

    /// As far as the features of an authenticated stream.
    func authenticate() -> C2SNegotiation.OpenResult {
        _ = secure()
        _ = plain()
        return open()
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
