import Synchronization
public import XMPPCore

/// Which requests go to a handler, and who may ask (RFC 6120 §8.2.3). The kernel answers `bad-request`, `forbidden`
/// and `service-unavailable`, so a handler has only its own subject.
public struct IQRoute {
    public enum RequestType: Hashable, Sendable { case get, set }

    public enum Asker: Hashable, Sendable {
        /// The account's own sessions.
        case ownAccount
        /// Those who see the account's presence, and the account itself.
        case contacts
        case anyone
        /// Accounts that the config names as administrators.
        case admin
    }

    public enum Order: Hashable, Sendable {
        /// The session's next stanza waits for the answer.
        case inOrder
        /// Later stanzas may overtake.
        case independent
    }

    /// What of an account is answered when there is none of that name. The request's account has no owner then.
    public enum Nobody: Hashable, Sendable {
        /// Nothing: the kernel refuses.
        case unanswered
        /// What was sent to the bare address.
        case atBareAddress
        /// What was sent to the bare address or to a client that is not there.
        case atEveryAddress
    }

    public enum Handler {
        case now((IQRequest) throws(StanzaError) -> Element?)
        case later(Order, (IQRequest, IQResponder) throws(StanzaError) -> Void)
    }

    public let module: String
    public let type: RequestType
    public let namespace: Namespace
    public let name: StaticString
    public let targets: [Target]
    public let asker: Asker
    public let handler: Handler
    public let nobody: Nobody

    public init(
        module: String, type: RequestType, namespace: Namespace, name: StaticString, targets: [Target], asker: Asker,
        handler: Handler, nobody: Nobody = .unanswered
    ) {
        self.module = module
        self.type = type
        self.namespace = namespace
        self.name = name
        self.targets = targets
        self.asker = asker
        self.handler = handler
        self.nobody = nobody
    }

    /// The same at another target.
    public func at(_ target: Target) -> IQRoute {
        IQRoute(
            module: module, type: type, namespace: namespace, name: name, targets: [target], asker: asker,
            handler: handler, nobody: nobody)
    }
}

/// One IQ get or set for the host or an account, with exactly one payload.
public struct IQRequest {
    public let stanza: Stanza
    public let payload: ElementView
    public let kernel: any Kernel
    /// Whose bare address was asked; nil when the host was.
    public let account: (any Account)?
    /// The session that asks, when it lives on this loop and is one of this server's.
    public let session: (any Session)?

    public init(
        stanza: Stanza, payload: ElementView, kernel: any Kernel, account: (any Account)?, session: (any Session)?
    ) {
        self.stanza = stanza
        self.payload = payload
        self.kernel = kernel
        self.account = account
        self.session = session
    }
}

extension IQRequest {
    /// Calls `answer`: at once if it will be short, else when the client has read what was sent to it before and the
    /// loop has looked after others.
    public func atPace(bytes: Int, _ answer: @escaping () -> Void) {
        guard let session, bytes > 16 << 10 else { return answer() }
        var isFirst = true
        session.paced {
            if isFirst {
                isFirst = false
                return true
            }
            answer()
            return false
        }
    }
}

/// Answers one request, from any thread, once; the second answer is ignored. Dropped without an answer it answers
/// `internal-server-error`: no request stays unanswered.
public final class IQResponder: Sendable {
    private let answered = Atomic<Bool>(false)
    private let deliver: @Sendable (Result<Element?, StanzaError>) -> Void

    public init(_ deliver: @escaping @Sendable (Result<Element?, StanzaError>) -> Void) {
        self.deliver = deliver
    }

    public func answer(_ result: Result<Element?, StanzaError>) {
        guard !answered.exchange(true, ordering: .acquiringAndReleasing) else { return }
        deliver(result)
    }

    deinit {
        if !answered.load(ordering: .acquiring) { deliver(.failure(.internalServerError)) }
    }
}
