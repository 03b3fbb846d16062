import Foundation
import Logging
import ModuleKit
import NIOCore

/// One connection of the control socket: collects a line, has it run, writes the answer, closes. Confined to its
/// channel's loop.
final class ControlHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private enum State {
        case collecting(ByteBuffer)
        /// A command with a long answer that waits until others are done.
        case waiting(ControlRequest)
        case running
        /// Pieces are on their way, or the next one is being made.
        case answering
        case closed
    }

    private var state = State.collecting(ByteBuffer())
    /// When it last went on: connected, asked, took a piece of its answer.
    private(set) var since = NIODeadline.now()
    /// Bytes of the request that count for the limit of all.
    private(set) var requestBytes = 0
    /// Whether a piece was written that the other end has not taken yet.
    private var isWriting = false
    /// Another connection waits for the piece that is being written to be read.
    private var isHurried = false
    private var isCommandRunning = false
    private var deadline: Scheduled<Void>?
    private let connections: ControlConnections
    private let channel: any Channel

    init(_ connections: ControlConnections, _ channel: any Channel) {
        self.connections = connections
        self.channel = channel
    }

    var isCollecting: Bool { if case .collecting = state { true } else { false } }

    /// Whether nothing happens here until the other end says or reads something.
    var isPeersTurn: Bool { isCollecting || isWriting }

    // MARK: What comes in

    func channelActive(context: ChannelHandlerContext) {
        connections.enter(self)
        wait(atMost: connections.limits.timeout, for: "nothing was asked in time")
    }

    func channelInactive(context: ChannelHandlerContext) {
        leave()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .collecting(var line) = state else { return }
        var bytes = unwrapInboundIn(data)
        let end = bytes.readableBytesView.firstIndex(of: UInt8(ascii: "\n"))
        let length = end.map { $0 - bytes.readerIndex } ?? bytes.readableBytes
        guard line.readableBytes + length <= ControlRequest.longest else {
            return answer(.usage("the request is too long"))
        }
        guard connections.collect(length, for: self) else {
            return answer(.unavailable("the server has too many requests to read; try again"))
        }
        requestBytes += length
        // Not within the state while it grows: that would copy it.
        state = .running
        if var part = bytes.readSlice(length: length) { line.writeBuffer(&part) }
        if end == nil {
            state = .collecting(line)
        } else {
            take(line)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    private func take(_ line: ByteBuffer) {
        deadline?.cancel()
        guard let request = ControlCoding.decode(ControlRequest.self, line.readableBytesView) else {
            return answer(.usage("the request makes no sense"))
        }
        connections.log.debug("control", metadata: ["command": "\(request)"])
        since = .now()
        state = .waiting(request)
        if connections.mayBegin(request, self) { takeTurn() }
    }

    // MARK: The command

    /// Runs the command.
    func takeTurn() {
        guard case .waiting(let request) = state else { return }
        releaseRequest()
        guard connections.begin(request) else {
            return answer(.unavailable("the server has too many commands to carry out; try again"))
        }
        since = .now()
        state = .running
        isCommandRunning = true
        let (me, loop, dispatch) = (
            NIOLoopBound(self, eventLoop: channel.eventLoop), channel.eventLoop, connections.dispatch
        )
        Task {
            let reply = await dispatch(request)
            loop.execute { me.value.finish(reply) }
        }
    }

    private func finish(_ reply: ControlReply) {
        connections.end()
        isCommandRunning = false
        if case .running = state {
            answer(reply)
        } else {
            connections.endTurn(self)
        }
    }

    // MARK: The answer

    private func answer(_ error: CommandError) {
        answer(ControlReply(error))
    }

    private func answer(_ reply: ControlReply) {
        deadline?.cancel()
        releaseRequest()
        state = .answering
        let (me, channel) = (NIOLoopBound(self, eventLoop: channel.eventLoop), channel)
        Task {
            // The other end sees that the line has no end.
            try? await reply.write { piece in
                try await channel.eventLoop.flatSubmit { me.value.write(piece) }.get()
            }
            channel.close(promise: nil)
        }
    }

    /// Done when the other end has taken it, or the system for it.
    private func write(_ piece: Data) -> EventLoopFuture<Void> {
        guard case .answering = state else { return channel.eventLoop.makeFailedFuture(ChannelError.ioOnClosedChannel) }
        isWriting = true
        isHurried = false
        since = .now()
        awaitReader()
        return channel.writeAndFlush(ByteBuffer(bytes: piece)).assumeIsolated().map { [self] in
            isWriting = false
            deadline?.cancel()
        }.nonisolated()
    }

    private func awaitReader() {
        wait(atMost: connections.readTimeout(self), for: "the answer was not read in time")
    }

    /// Others wait until this answer has been read. Its time is counted from the first one that waits.
    func hurry() {
        guard isWriting, !isHurried else { return }
        isHurried = true
        awaitReader()
    }

    // MARK: The end

    private func wait(atMost time: TimeAmount, for reason: String) {
        deadline?.cancel()
        deadline = channel.eventLoop.assumeIsolated().scheduleTask(in: time) { [self] in giveWay(reason) }
    }

    /// Ends the connection in favour of others. A command that runs goes on, and nobody hears its answer.
    func giveWay(_ reason: String) {
        connections.log.warning("control_refused", metadata: ["reason": "\(reason)"])
        leave()
        channel.close(promise: nil)
    }

    private func leave() {
        deadline?.cancel()
        releaseRequest()
        state = .closed
        isWriting = false
        connections.leave(self)
        // A command that still runs takes memory, whether anybody waits for it or not.
        if !isCommandRunning { connections.endTurn(self) }
    }

    private func releaseRequest() {
        connections.release(requestBytes)
        requestBytes = 0
    }
}
