public import XMPPCore

/// What clients may ask on a stream that is encrypted and not authenticated yet, such as how to get an account.
public struct StreamRoute {
    public typealias Handler = (StreamRequest, IQResponder) throws(StanzaError) -> Void

    public let module: String
    public let type: IQRoute.RequestType
    public let namespace: Namespace
    public let name: StaticString
    public let handler: Handler
}

/// One such request. There is no address yet; what is known of the client is where it connects from. Until it is
/// answered nothing else of the stream is read.
public struct StreamRequest {
    public let payload: ElementView
    /// The host that the stream is for.
    public let host: String
    public let peer: PeerInfo
    public let kernel: any Kernel
    /// Lives as long as the stream is not authenticated.
    public let context: StreamContext

    public init(
        payload: ElementView, host: String, peer: PeerInfo, kernel: any Kernel, context: StreamContext
    ) {
        self.payload = payload
        self.host = host
        self.peer = peer
        self.kernel = kernel
        self.context = context
    }
}

/// What modules keep with a stream that has no session. Only touched on the stream's loop.
public final class StreamContext {
    public var state = StateContainer()

    public init() {}
}
