public import XMPPCore

/// A rare moment in the life of a session or an account; handlers run in the order of the modules' list.
public struct MomentPoint<Handler> {
    public internal(set) var registrations: [(module: String, handler: Handler)] = []
    var module = ""

    init() {}

    public mutating func add(_ handler: Handler) {
        registrations.append((module, handler))
    }
}

public typealias SessionPoint = MomentPoint<(any Session) -> Void>
/// Handlers get the account complete, on its home loop.
public typealias AccountPoint = MomentPoint<(any Account) -> Void>

/// A client proved who it is; it has been told nothing yet. On the account's home loop.
public struct Authenticated: Sendable {
    public let account: BareJID
    /// As the client named it: `SCRAM-SHA-256-PLUS`.
    public let mechanism: String
    public let peer: PeerInfo
    /// Nil: the bytes are in clear.
    public let tls: TLSInfo?

    public init(account: BareJID, mechanism: String, peer: PeerInfo, tls: TLSInfo?) {
        self.account = account
        self.mechanism = mechanism
        self.peer = peer
        self.tls = tls
    }
}

/// What a module says of a client that authenticated.
public enum AuthenticatedVerdict: Hashable, Sendable {
    case proceed
    /// To the client the authentication has failed for this reason; it may try again.
    case refuse(Refusal, text: String? = nil)
    /// The stream ends with the error.
    case close(StreamError)

    /// The reasons of RFC 6120 §6.5 that come after a right password.
    public enum Refusal: Hashable, Sendable {
        case accountDisabled
        case credentialsExpired
        case notAuthorized
        /// It may work later.
        case temporary
    }
}

/// A session that is being made: it has its address, and the client has not been told. What is sent to the session now
/// would come before the answer, so nothing may be sent.
public struct Inline {
    public let session: any Session
    /// What the client asked for in one breath with its resource; nothing where RFC 6120 §7 binds.
    public let requests: [Element]
    /// What the answer will hold beside the address. Who binds by RFC 6120 expects nothing there.
    public private(set) var answers: [Element] = []

    public init(session: any Session, requests: [Element]) {
        self.session = session
        self.requests = requests
    }

    public func request(_ name: String, _ namespace: Namespace) -> Element? {
        requests.first { $0.isNamed(name, namespace) }
    }

    public mutating func answer(_ element: Element) {
        answers.append(element)
    }
}

/// A step that a module repeats.
public struct Chore {
    public let step: (any Kernel) -> Duration
}

/// Elements beside the stanzas that a module takes from clients.
public struct ElementHandler {
    public let module: String
    public let namespace: Namespace
    /// False: there is no such element in the namespace.
    public let handler: (any Session, ElementView) -> Bool
}

/// What is done about clients that are silent for so long.
public struct SilenceHandler {
    public let module: String
    public let after: Duration
    public let handler: (any Session) -> Void
}
