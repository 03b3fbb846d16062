internal import NIOCore
internal import XMPPServer

extension Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelActive(context: ChannelHandlerContext) {
        nioLoop.begin()
        self.context = context
        guard phase != .moved else { return arrive() }
        origin.counters.accepted.increment()
        if origin.options.proxies.isEmpty { welcome() } else { awaitAnnouncement() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = Self.unwrapInboundIn(data)
        nioLoop.begin()
        // Given back before it is used: nobody reads on this loop until this is over.
        nioLoop.resources.giveBack(buffer)
        buffer.withUnsafeReadableBytes { ingest($0) }
    }

    /// Each read ends here; nobody else has to hear of it.
    func channelReadComplete(context: ChannelHandlerContext) {}

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else { return }
        guard phase != .moved else { return }
        nioLoop.begin()
        flags.insert(.inputEnded)
        touch()
    }

    func channelInactive(context: ChannelHandlerContext) {
        // The old half of a moved connection closes too.
        guard phase != .moved else { return }
        nioLoop.begin()
        socketIsGone()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // NIO closes the channel itself where it has to.
    }

    func socketIsGone() {
        context = nil
        descriptor = -1
        flags.insert(.dead)
        touch()
    }
}

extension Connection {
    /// Sets what NIO offers to the needs of ten thousands of mostly silent connections.
    static func tune(_ channel: any Channel, _ loop: NIOLoop) throws {
        guard let options = channel.syncOptions else { return }
        try options.setOption(.recvAllocator, value: SharedReceiveAllocator(loop.resources))
        try options.setOption(.maxMessagesPerRead, value: 1)
        // A peer that has said everything may still listen.
        try options.setOption(.allowRemoteHalfClosure, value: true)
    }

    func setReading(_ isOn: Bool) {
        guard flags.contains(.readingOff) == isOn else { return }
        if isOn { flags.remove(.readingOff) } else { flags.insert(.readingOff) }
        try? context?.channel.syncOptions?.setOption(.autoRead, value: isOn)
    }
}
