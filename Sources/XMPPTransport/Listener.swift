internal import Glibc
internal import ModuleKit
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix
internal import Synchronization
public import XML
public import XMPPServer

/// Where to listen, and what is spoken there.
public struct ListenerOptions: Sendable, Hashable {
    public enum Security: Hashable, Sendable {
        /// In clear, until the handler starts TLS.
        case startTLS
        /// TLS from the first byte (XEP-0368).
        case direct
        /// In clear.
        case none
    }

    /// Numeric, IPv4 or IPv6.
    public var address: String
    /// 0: any free one.
    public var port: Int
    public var security: Security
    /// Connections that the kernel accepts ahead.
    public var backlog: Int
    /// How long a client may take for the TLS handshake.
    public var handshakeTimeout: Duration
    /// How long a client may take to read the rest of a stream that was closed.
    public var lingerTimeout: Duration
    /// What a stream begins with.
    public var limits: XMLLimits
    /// Whoever connects must be one of them, and say for whom (PROXY protocol). Empty: clients connect themselves.
    public var proxies: [AddressRange]
    /// How long the other end may be without a sign of life to the kernel; nil: as the system thinks fit.
    public var lostTimeout: Duration?

    public init(
        address: String, port: Int, security: Security = .startTLS, backlog: Int = 1024,
        handshakeTimeout: Duration = .seconds(30), lingerTimeout: Duration = .seconds(5),
        limits: XMLLimits = .unauthenticated, proxies: [AddressRange] = [], lostTimeout: Duration? = nil
    ) {
        self.address = address
        self.port = port
        self.security = security
        self.backlog = backlog
        self.handshakeTimeout = handshakeTimeout
        self.lingerTimeout = lingerTimeout
        self.limits = limits
        self.proxies = proxies
        self.lostTimeout = lostTimeout
    }
}

/// What has happened at a listener since it was opened.
public struct ListenerCounts: Hashable, Sendable {
    public var accepted = 0
    /// Closed at once, because hardly a descriptor was left.
    public var refused = 0
    /// Connections that exist now.
    public var live = 0
    public var handshakes = 0
    public var handshakeFailures = 0
    public var handshakeTimeouts = 0
    /// Connections that came from nobody who may announce clients.
    public var strangers = 0
    /// Proxies that did not say in the right form for whom they connect, or not in time.
    public var announcementsRefused = 0
    /// Streams cut because clear bytes followed `<starttls/>`.
    public var injections = 0
}

/// What the connections of a listener share with it.
final class ListenerState: Sendable {
    struct Counter: ~Copyable, Sendable {
        private let count = Atomic(0)

        var value: Int { count.load(ordering: .relaxed) }
        func increment() { count.add(1, ordering: .relaxed) }
        func decrement() { count.subtract(1, ordering: .relaxed) }
    }

    struct Counters: ~Copyable, Sendable {
        let accepted = Counter()
        let refused = Counter()
        let live = Counter()
        let handshakes = Counter()
        let handshakeFailures = Counter()
        let handshakeTimeouts = Counter()
        let injections = Counter()
        let strangers = Counter()
        let announcementsRefused = Counter()
    }

    let options: ListenerOptions
    let counters = Counters()
    let makeHandler: @Sendable (any StreamTransport) -> any StreamHandler
    private let context: NIOLockedValueBox<TLSContext?>

    init(
        _ options: ListenerOptions, tls: TLSContext?,
        _ makeHandler: @escaping @Sendable (any StreamTransport) -> any StreamHandler
    ) {
        self.options = options
        self.makeHandler = makeHandler
        context = NIOLockedValueBox(options.security == .none ? nil : tls)
    }

    var tls: TLSContext? {
        get { context.withLockedValue { $0 } }
        set { context.withLockedValue { $0 = newValue } }
    }
}

/// An open port. Its connections outlive it.
public final class Listener: Sendable {
    public let options: ListenerOptions
    /// The one listened on.
    public let port: Int
    let state: ListenerState
    private let channel: any Channel

    init(_ state: ListenerState, _ channel: any Channel) {
        options = state.options
        port = channel.localAddress?.port ?? state.options.port
        self.state = state
        self.channel = channel
    }

    public var counts: ListenerCounts {
        ListenerCounts(
            accepted: state.counters.accepted.value,
            refused: state.counters.refused.value,
            live: state.counters.live.value,
            handshakes: state.counters.handshakes.value,
            handshakeFailures: state.counters.handshakeFailures.value,
            handshakeTimeouts: state.counters.handshakeTimeouts.value,
            strangers: state.counters.strangers.value,
            announcementsRefused: state.counters.announcementsRefused.value,
            injections: state.counters.injections.value)
    }

    /// For handshakes that begin from now on. Does nothing where no TLS is spoken.
    public func use(_ tls: TLSContext) {
        guard options.security != .none else { return }
        state.tls = tls
    }

    /// Accepts nothing more.
    public func close() async {
        try? await channel.close().get()
    }
}

/// Why a port cannot be listened on.
public struct ListenerFailure: Error, Hashable, CustomStringConvertible {
    public var address: String
    public var port: Int
    public var reason: String

    public var description: String {
        address.contains(":") ? "[\(address)]:\(port): \(reason)" : "\(address):\(port): \(reason)"
    }
}

extension ListenerState {
    /// Opens the port on one loop; what it accepts goes to the loops in turn.
    func bind(
        _ accepting: NIOLoop, _ group: MultiThreadedEventLoopGroup, _ loops: [NIOLoop]
    ) async throws -> any Channel {
        let address: SocketAddress
        do {
            address = try SocketAddress(ipAddress: options.address, port: options.port)
        } catch {
            throw ListenerFailure(address: options.address, port: options.port, reason: "not a numeric address")
        }
        let bootstrap = ServerBootstrap(group: accepting.eventLoop, childGroup: group)
            .serverChannelOption(.backlog, value: Int32(clamping: options.backlog))
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOptions(for: options.lostTimeout)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(AcceptPause())
                }
            }
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try self.welcome(channel, loops)
                }
            }
        do {
            return try await bootstrap.bind(to: address).get()
        } catch {
            let reason = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
            throw ListenerFailure(address: options.address, port: options.port, reason: reason)
        }
    }

    private struct NoDescriptorLeft: Error {}
    private struct Stranger: Error {}

    private func welcome(_ channel: any Channel, _ loops: [NIOLoop]) throws {
        guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop }) else { return }
        // The kernel gives out the lowest free descriptor, so its number says how many are in use.
        let operations = channel.pipeline.syncOperations
        let descriptor = try operations.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) { $0 }
        guard let descriptor, descriptor < DescriptorLimit.forConnections else {
            counters.refused.increment()
            throw NoDescriptorLeft()
        }
        let peer = PeerInfo(channel.remoteAddress)
        guard options.proxies.isEmpty || options.proxies.contains(where: { $0.contains(peer.address) }) else {
            counters.strangers.increment()
            throw Stranger()
        }
        try Connection.tune(channel, loop)
        try operations.addHandler(Connection(loop, peer: peer, descriptor: descriptor, origin: self))
    }
}

extension ServerBootstrap {
    /// Has the kernel find out when a peer is gone without a word. Set where connections are accepted, which inherit
    /// it: no call for each of them.
    ///
    /// Bytes that nobody acknowledges count from when they were sent; a silent connection is probed after half of the
    /// time, then six times in the rest of it.
    fileprivate func serverChannelOptions(for timeout: Duration?) -> ServerBootstrap {
        guard let timeout else { return self }
        let seconds = Int(clamping: max(2, min(timeout.components.seconds, 2_000_000)))
        let tcp = NIOBSDSocket.OptionLevel.tcp
        func option(_ name: CInt) -> ChannelOptions.Types.SocketOption {
            ChannelOptions.Types.SocketOption(level: tcp, name: NIOBSDSocket.Option(rawValue: name))
        }
        return serverChannelOption(.socketOption(.so_keepalive), value: 1)
            .serverChannelOption(option(TCP_KEEPIDLE), value: min(seconds / 2, 32_767))
            .serverChannelOption(option(TCP_KEEPINTVL), value: min(max(1, seconds / 12), 32_767))
            .serverChannelOption(option(TCP_KEEPCNT), value: 6)
            .serverChannelOption(option(TCP_USER_TIMEOUT), value: seconds * 1000)
    }
}

/// When the process or the machine is out of descriptors or memory, accepting fails at once, again and again: wait a
/// moment instead of spinning.
private final class AcceptPause: ChannelInboundHandler {
    typealias InboundIn = Channel

    private static let pause = TimeAmount.milliseconds(200)

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError, [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(error.errnoCode) else { return }
        let channel = context.channel
        try? channel.syncOptions?.setOption(.autoRead, value: false)
        context.eventLoop.scheduleTask(in: Self.pause) {
            try? channel.syncOptions?.setOption(.autoRead, value: true)
        }
    }
}

extension PeerInfo {
    /// IPv4 addresses mapped into IPv6 are given as IPv4, so that one peer has one address.
    init(_ address: SocketAddress?) {
        let numeric = address?.ipAddress ?? ""
        let mapped = "::ffff:"
        let isMapped = numeric.hasPrefix(mapped) && numeric.contains(".")
        self.init(address: isMapped ? String(numeric.dropFirst(mapped.count)) : numeric, port: address?.port ?? 0)
    }
}
