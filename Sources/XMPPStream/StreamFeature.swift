public import XMPPCore

/// Something a stream offers, and when: data, so that what is offered and what is accepted cannot differ.
public struct StreamFeature: Hashable, Sendable {
    /// What a stream has reached.
    public struct Conditions: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8

        public init(rawValue: UInt8) {
            self.rawValue = rawValue
        }

        /// TLS is up.
        public static let secure = Conditions(rawValue: 1)
        /// The client has proved who it is.
        public static let authenticated = Conditions(rawValue: 2)
    }

    /// The child of `<stream:features/>`.
    public var element: Element
    public var requires: Conditions
    public var forbids: Conditions

    public init(_ element: Element, requires: Conditions = .authenticated, forbids: Conditions = []) {
        self.element = element
        self.requires = requires
        self.forbids = forbids
    }

    public func isOffered(_ reached: Conditions) -> Bool {
        reached.isSuperset(of: requires) && reached.isDisjoint(with: forbids)
    }
}

/// The payload of an IQ that is answered before authentication (XEP-0077 §3.1.1).
public struct EarlyRequest: Hashable, Sendable {
    public var name: String
    public var namespace: Namespace

    public init(_ name: String, _ namespace: Namespace) {
        self.name = name
        self.namespace = namespace
    }

    public func isPayload(of iq: ElementView) -> Bool {
        guard let payload = iq.firstElement else { return false }
        return payload.namespace == namespace && payload.name == name
    }
}

/// What a host offers on its clients' streams.
public struct HostPolicy: Hashable, Sendable {
    public var authentication: AuthenticationPolicy
    /// Whether `<resume/>` is taken and `urn:xmpp:sm:3` offered.
    public var streamManagement: Bool
    /// What modules add.
    public var features: [StreamFeature]
    /// What a client may ask under TLS before it authenticates.
    public var requests: Set<EarlyRequest>

    public init(
        authentication: AuthenticationPolicy, streamManagement: Bool = true, features: [StreamFeature] = [],
        requests: Set<EarlyRequest> = []
    ) {
        self.authentication = authentication
        self.streamManagement = streamManagement
        self.features = features
        self.requests = requests
    }
}

/// How a listener treats TLS.
public enum TLSMode: String, Hashable, Sendable, CaseIterable {
    /// STARTTLS, and nothing else before it.
    case required
    /// STARTTLS is offered, and authentication as well.
    case optional
    /// Never.
    case none
    /// TLS from the first byte.
    case direct
}
