import NIOConcurrencyHelpers
import NIOCore

/// One connection of a pair.
///
/// Confined to its mailbox's loop, but `partner`, which is set before the connection has a loop and only read after.
final class End: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer

    let mailbox: Mailbox
    var partner: End?
    private var context: ChannelHandlerContext?

    init(mailbox: Mailbox) {
        self.mailbox = mailbox
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
    }

    /// Tells the client that its partner is there; from any thread.
    func announce() {
        mailbox.loop.execute {
            self.write(ByteBuffer(string: "<ready/>"))
            self.flush()
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let buffer = Self.unwrapInboundIn(data)
        guard let partner else { return }
        if partner.mailbox === mailbox {
            partner.write(buffer)
            partner.flush()
            mailbox.giveBack(buffer)
        } else {
            partner.mailbox.post(buffer, to: partner)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        guard let partner else { return }
        self.partner = nil
        partner.mailbox.loop.execute {
            partner.partner = nil
            partner.context?.close(promise: nil)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }

    func write(_ buffer: ByteBuffer) {
        context?.write(NIOAny(buffer), promise: nil)
    }

    func flush() {
        context?.flush()
    }
}

/// One loop's buffers, and what other loops have for its connections: one wake-up for all that came before it runs,
/// one flush per connection.
final class Mailbox: @unchecked Sendable {  // `spare` belongs to the loop, the rest to the lock
    let loop: any EventLoop
    private let letters = NIOLockedValueBox<[(ByteBuffer, End)]>([])
    private var spare: ByteBuffer?

    init(loop: any EventLoop) {
        self.loop = loop
    }

    func post(_ buffer: ByteBuffer, to end: End) {
        let wasEmpty = letters.withLockedValue { letters in
            letters.append((buffer, end))
            return letters.count == 1
        }
        if wasEmpty { loop.execute { self.deliver() } }
    }

    private func deliver() {
        let letters = letters.withLockedValue { letters in
            let all = letters
            letters = []
            return all
        }
        for (buffer, end) in letters { end.write(buffer) }
        for (_, end) in letters { end.flush() }
    }

    /// The loop's one read buffer, unless somebody still holds it.
    func takeBuffer(_ allocator: ByteBufferAllocator) -> ByteBuffer {
        guard var buffer = spare else { return allocator.buffer(capacity: LoopBuffers.size) }
        spare = nil
        buffer.clear()
        return buffer
    }

    func giveBack(_ buffer: ByteBuffer) {
        if buffer.storageCapacity >= LoopBuffers.size { spare = buffer }
    }
}

/// A connection keeps a buffer of 16 bytes; whatever it reads beyond the first is read into the loop's one buffer.
struct LoopBuffers: RecvByteBufferAllocator {
    static let size = 16384

    private let mailbox: Mailbox
    private var isFirst = true

    init(mailbox: Mailbox) {
        self.mailbox = mailbox
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        isFirst ? allocator.buffer(capacity: 16) : mailbox.takeBuffer(allocator)
    }

    mutating func record(actualReadBytes: Int) -> Bool {
        isFirst = false
        return true
    }

    /// No size: NIO then asks for a new buffer each time.
    func nextBufferSize() -> Int? { nil }
}
