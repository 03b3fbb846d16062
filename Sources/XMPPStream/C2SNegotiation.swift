public import XMPPCore

/// A client's stream from its first header to the bound or resumed session (RFC 6120 §4 to §7).
///
/// Feed it the stream headers and elements of the client; do what each result asks for, and report back where a result
/// says so, holding the client's next element until then. A result named `fail` is the last one: send the error, close.
/// The order is: header, TLS, header, authentication, header, then resume or bind. The host of the first header is
/// the host of the stream for good.
public struct C2SNegotiation: ~Copyable, Sendable {
    /// What is known of the stream beside the step it is at.
    struct Facts: Sendable {
        var tls: TLSMode
        var random: RandomSource
        var reached: StreamFeature.Conditions = []
        var bindings = ChannelBindings.none
        /// Accounts of the host that the client's certificate names.
        var certified: [BareJID] = []
        /// What the server calls itself where a header is for no host that it serves.
        var name: String
        /// Who the client said it is, once nobody could change that on the way.
        var claimed: BareJID?
        var host: String?
        var policy: HostPolicy?
        var account: BareJID?
        /// Failures with a password that was looked at.
        var guesses = 0
        /// Failures before any was.
        var refusals = 0
        /// Requests to bind that were refused.
        var refusedBinds = 0
        var outOfTurn = 0
    }

    /// Refused requests to bind after which the next one ends the stream (RFC 6120 §7.7.3).
    static let mostRefusedBinds = 10

    enum Phase: Sendable {
        /// A header has to come.
        case opening
        /// Features were sent, nobody is authenticated.
        case negotiating
        case startingTLS
        case authenticating(SASLServer)
        /// Authenticated; a header has to come.
        case restarting
        /// Authenticated, features were sent.
        case unbound
        /// The owner decides about the request of that id.
        case binding(BindRequest)
        /// The owner decides.
        case resuming
        case ended
    }

    private var facts: Facts
    private var phase = Phase.opening

    /// - Parameter name: stands in the answer to a header that is for no host of the server: one of those that it
    ///   serves, or nothing (RFC 6120 §4.9.1.3).
    public init(tls: TLSMode, name: String = "", random: RandomSource = .system) {
        facts = Facts(tls: tls, random: random, name: name)
    }

    /// The `from` of the server's headers.
    public var name: String { facts.host ?? facts.name }

    /// The host that the client asked for; nil before its first header.
    public var host: String? { facts.host }
    /// Who has authenticated.
    public var account: BareJID? { facts.account }
    /// TLS is up.
    public var isSecure: Bool { facts.reached.contains(.secure) }
    public var isAuthenticated: Bool { facts.reached.contains(.authenticated) }
    /// Messages of an authentication that came when nobody waited for one: a second authentication, one instead of
    /// another that had not ended, an answer to no question.
    public var outOfTurn: Int { facts.outOfTurn }
    /// Authenticated, with features sent: a resource is to be bound, or a session resumed.
    public var isUnbound: Bool {
        if case .unbound = phase { true } else { false }
    }
    /// Bound, resumed or failed.
    public var isEnded: Bool {
        switch phase {
        case .ended: true
        case .opening, .negotiating, .startingTLS, .authenticating, .restarting, .unbound, .binding, .resuming: false
        }
    }

    public enum OpenResult: Hashable, Sendable {
        case respond(StreamHeader, features: Element)
        /// The header is nil when ours was sent before.
        case fail(StreamHeader?, StreamError)
    }

    /// A stream header arrived.
    ///
    /// - Parameters:
    ///   - serving: the policy of a host by its canonical name; nil: not served here.
    ///   - certified: the addresses in the client's certificate, if that host believes it. Asked only where EXTERNAL
    ///     may be offered.
    public mutating func opened(
        _ header: StreamHeader, serving: (String) -> HostPolicy?, certified: (String) -> [String] = { _ in [] }
    ) -> OpenResult {
        phase.opened(header, &facts, serving, certified)
    }

    /// TLS is up: after `.startTLS`, or before anything else on a listener with direct TLS. Ignored elsewhere.
    public mutating func tlsEstablished(_ bindings: ChannelBindings) {
        phase.tlsEstablished(bindings, &facts)
    }

    public enum ElementResult: Hashable, Sendable {
        /// Send it in clear, take what was read behind the request for an attack, and begin the handshake; then
        /// `tlsEstablished(_:)`.
        case startTLS(Element)
        /// Send it and close the stream (RFC 6120 §5.4.2.2).
        case refuseTLS(Element)
        case authentication(AuthenticationResult)
        /// Decide, then `bound(as:)` or `refuseBind(_:)`.
        case bind(BindRequest)
        /// Decide, then `resumed()` or `refuseResume(_:h:)`.
        case resume(ResumeRequest)
        /// An IQ get or set that this host answers before authentication: send the answer and go on.
        case request
        /// Send it and go on.
        case reply(Element)
        /// The client sent a stream error: close.
        case close
        case fail(StreamError)
    }

    /// An element below the stream arrived.
    public mutating func received(_ element: ElementView) -> ElementResult {
        phase.received(element, &facts)
    }

    public enum AuthenticationResult: Hashable, Sendable {
        /// Send it.
        case challenge(Element)
        /// Fetch the keys, then `found(_:)`.
        case lookUp(CredentialRequest)
        /// Run it on a pool, then `checked(_:)`.
        case check(PasswordCheck)
        /// See whether the account exists, then `foundAccount(_:)`.
        case find(BareJID)
        case authenticated(Authenticated)
        case rejected(Rejection)
    }

    public struct Authenticated: Hashable, Sendable {
        public var account: BareJID
        public var mechanism: SASLMechanism
        /// Send it; a new header comes next.
        public var success: Element
    }

    public struct Rejection: Hashable, Sendable {
        public var failure: SASLFailure
        /// Who tried, if it came as far as that: for the log and for limits.
        public var account: BareJID?
        /// The `<failure/>` to send.
        public var element: Element
        /// Not nil: that was one failure too many, close behind the `<failure/>`.
        public var closing: StreamError?
    }

    /// The answer to `.lookUp`; nil as a result: nobody asked.
    public mutating func found(_ credentials: [ScramCredential]) -> AuthenticationResult? {
        phase.resume(&facts) { sasl in sasl.found(credentials) }
    }

    /// The answer to `.find`; nil as a result: nobody asked.
    public mutating func foundAccount(_ exists: Bool) -> AuthenticationResult? {
        phase.resume(&facts) { sasl in sasl.foundAccount(exists) }
    }

    /// The answer to `.check`; nil as a result: nobody asked.
    public mutating func checked(_ matches: Bool) -> AuthenticationResult? {
        phase.resume(&facts) { sasl in sasl.checked(matches) }
    }

    /// `.lookUp`, `.find` or `.check` could not be answered: the store is gone, the pool is full. Nil: nobody asked.
    public mutating func authenticationFailed(_ failure: SASLFailure = .temporary) -> AuthenticationResult? {
        phase.resume(&facts) { sasl in sasl.awaitsOwner ? sasl.fail(failure) : nil }
    }

    /// The owner does not let in who has just authenticated: as if the authentication had failed. Only before the
    /// `<success/>` was sent. Nil: nobody has just authenticated.
    public mutating func refuseAuthenticated(_ failure: SASLFailure) -> Rejection? {
        phase.refuseAuthenticated(failure, &facts)
    }

    /// The session is bound: the answer to send, and the end of this machine. Nil: nobody asked.
    public mutating func bound(as address: JID) -> Element? {
        phase.bound(address)
    }

    /// The answer to send; the client may ask again. Nil: nobody asked.
    public mutating func refuseBind(_ error: StanzaError) -> Element? {
        phase.refuseBind(error, &facts)
    }

    /// The session is resumed: the end of this machine. False: nobody asked.
    public mutating func resumed() -> Bool {
        phase.resumed()
    }

    /// The `<failed/>` to send; the client may bind. `h` is what was received in that session, if it is still known.
    /// Nil: nobody asked.
    public mutating func refuseResume(_ condition: StanzaError.Condition, h: UInt32? = nil) -> Element? {
        phase.refuseResume(condition, h)
    }
}
