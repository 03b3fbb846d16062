import Foundation
import Logging
import ModuleKit
import NIOCore
import NIOPosix
import Synchronization

/// The socket by which commands reach the running server. Whoever can open it (the owner of the data directory) may
/// do everything, so nobody else can; still, size, number and time of what comes in are bounded.
final class ControlServer: Sendable {
    /// Runs one command.
    typealias Dispatch = @Sendable (ControlRequest) async -> ControlAnswer

    struct Limits: Sendable {
        var connections = 32
        /// From connecting until the request is whole. The answer may take as long as the command does.
        var timeout = TimeAmount.seconds(10)
    }

    private let channel: any Channel
    private let address: SocketAddressPath
    private let socketPath: String

    private init(channel: any Channel, address: SocketAddressPath, socketPath: String) {
        self.channel = channel
        self.address = address
        self.socketPath = socketPath
    }

    /// Opens the socket, in place of one that a dead server left behind: the caller holds the directory's lock.
    ///
    /// - Throws: `CommandError` if the socket cannot be opened.
    static func start(
        in directory: DataDirectory, on group: any EventLoopGroup, limits: Limits = Limits(), log: Logger,
        dispatch: @escaping Dispatch
    ) async throws(CommandError) -> ControlServer {
        let address = try directory.socketAddress()
        unlink(address.path)
        let open = ConnectionCount(limits.connections)
        do {
            let channel = try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 16)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let handler = ControlHandler(limits: limits, count: open, log: log, dispatch: dispatch)
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                }
                .bind(unixDomainSocketPath: address.path).get()
            // The directory is closed to others already; this is for one that its owner has opened.
            chmod(address.path, 0o600)
            return ControlServer(channel: channel, address: address, socketPath: directory.socketPath)
        } catch {
            throw .unavailable("the control socket \(directory.socketPath) cannot be opened: \(error)")
        }
    }

    /// Closes and removes the socket. Requests that are being answered still get their answers.
    func stop() async {
        unlink(address.path)
        try? await channel.close()
    }
}

/// How many connections are open, over all event loops.
private final class ConnectionCount: Sendable {
    private let count = Mutex(0)
    private let most: Int

    init(_ most: Int) {
        self.most = most
    }

    func enter() -> Bool {
        count.withLock { count in
            guard count < most else { return false }
            count += 1
            return true
        }
    }

    func leave() {
        count.withLock { $0 -= 1 }
    }
}

/// One connection: collects a line, has it run, writes the answer, closes. Confined to its channel's loop.
private final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State { case idle, collecting(ByteBuffer), answering, closed }

    private var state = State.idle
    private var hasEntered = false
    private var deadline: Scheduled<Void>?
    private let limits: ControlServer.Limits
    private let count: ConnectionCount
    private let log: Logger
    private let dispatch: ControlServer.Dispatch

    init(limits: ControlServer.Limits, count: ConnectionCount, log: Logger, dispatch: @escaping ControlServer.Dispatch)
    {
        self.limits = limits
        self.count = count
        self.log = log
        self.dispatch = dispatch
    }

    func channelActive(context: ChannelHandlerContext) {
        hasEntered = count.enter()
        guard hasEntered else {
            log.warning("control_refused", metadata: ["reason": "too many connections"])
            state = .closed
            context.close(promise: nil)
            return
        }
        state = .collecting(context.channel.allocator.buffer(capacity: 512))
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: limits.timeout) { channel.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        if hasEntered { count.leave() }
        hasEntered = false
        state = .closed
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .collecting(var line) = state else { return }
        state = .idle
        var bytes = unwrapInboundIn(data)
        guard let length = bytes.readableBytesView.firstIndex(of: UInt8(ascii: "\n")).map({ $0 - bytes.readerIndex })
        else {
            line.writeBuffer(&bytes)
            guard line.readableBytes <= ControlRequest.longest else {
                answer(ControlAnswer(CommandError.usage("the request is too long")), context)
                return
            }
            state = .collecting(line)
            return
        }
        if var head = bytes.readSlice(length: length) { line.writeBuffer(&head) }
        run(line, context)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func run(_ line: ByteBuffer, _ context: ChannelHandlerContext) {
        deadline?.cancel()
        guard line.readableBytes <= ControlRequest.longest,
            let request = ControlCoding.decode(ControlRequest.self, line.readableBytesView)
        else {
            answer(ControlAnswer(CommandError.usage("the request makes no sense")), context)
            return
        }
        state = .answering
        log.debug("control", metadata: ["command": "\(request)"])
        let channel = context.channel
        Task { [dispatch] in
            let answer = await dispatch(request)
            guard let line = try? ControlCoding.line(answer) else {
                channel.close(promise: nil)
                return
            }
            channel.writeAndFlush(ByteBuffer(bytes: line)).whenComplete { _ in channel.close(promise: nil) }
        }
    }

    private func answer(_ answer: ControlAnswer, _ context: ChannelHandlerContext) {
        deadline?.cancel()
        state = .answering
        guard let line = try? ControlCoding.line(answer) else {
            context.close(promise: nil)
            return
        }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: line))).whenComplete { _ in channel.close(promise: nil)
        }
    }
}
