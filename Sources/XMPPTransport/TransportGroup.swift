internal import NIOConcurrencyHelpers
internal import NIOCore
internal import NIOPosix
public import XMPPServer

/// The event loops of the server and the ports it listens on.
public final class TransportGroup: Sendable {
    public let loops: [any Loop]
    private let nioLoops: [NIOLoop]
    private let group: MultiThreadedEventLoopGroup
    private let listeners = NIOLockedValueBox<[Listener]>([])

    /// - Parameter loops: how many; by default one for each core.
    public init(loops count: Int? = nil) {
        group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, count ?? System.coreCount))
        nioLoops = group.makeIterator().enumerated().map { NIOLoop(index: $0.offset, eventLoop: $0.element) }
        loops = nioLoops
    }

    /// Opens a port. Each connection gets its handler from `makeHandler`, on its loop, when it is accepted; with TLS
    /// from the first byte too, where `tlsEstablished` is the first thing that the handler hears.
    ///
    /// Connections begin on any of the loops. Throws `ListenerFailure`.
    public func listen(
        _ options: ListenerOptions, tls: TLSContext? = nil,
        _ makeHandler: @escaping @Sendable (any StreamTransport) -> any StreamHandler
    ) async throws -> Listener {
        if options.security != .none, tls == nil {
            throw ListenerFailure(address: options.address, port: options.port, reason: "no certificate for TLS")
        }
        let state = ListenerState(options, tls: tls, makeHandler)
        let accepting = nioLoops[listeners.withLockedValue { $0.count } % nioLoops.count]
        let listener = Listener(state, try await state.bind(accepting, group, nioLoops))
        listeners.withLockedValue { $0.append(listener) }
        return listener
    }

    /// Connections that exist now, of all listeners.
    public var liveConnections: Int {
        listeners.withLockedValue { $0.reduce(0) { $0 + $1.counts.live } }
    }

    /// Closes the ports: streams go on, no new ones come.
    public func stopListening() async {
        for listener in listeners.withLockedValue({ $0 }) { await listener.close() }
    }

    /// Ends everything: ports, then connections, whose handlers hear `disconnected`, then the threads. Whoever wants
    /// streams to end in order closes them first, and waits for `liveConnections` to fall.
    public func shutdown() async {
        await stopListening()
        try? await group.shutdownGracefully()
        for loop in nioLoops { loop.dissolve() }
    }
}
