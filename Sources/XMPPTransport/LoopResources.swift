internal import ModuleKit
internal import NIOCore
internal import XML
internal import XMPPCore
internal import XMPPServer

/// What one connection has rendered in this turn and not yet written, with the receipts that wait for it.
final class Output {
    let bytes = OutputBuffer(capacity: 1024)
    var receipts: [Receipt] = []
    /// Comes behind `bytes`, oldest first.
    var late: [LateOutput] = []

    var byteCount: Int { late.isEmpty ? bytes.count : late.reduce(bytes.count) { $0 + $1.byteCount } }
}

/// What the connections of one loop share, so that an idle one holds nothing: they use it one after the other.
/// Confined to the loop.
final class LoopResources {
    let parsers = ParserPool()
    let tls = TLSScratch()
    var large = LargeStanzas()
    private var outputs: [Output] = []
    private var spareReceiveBuffer: ByteBuffer?
    private var warm: ContiguousArray<Connection> = []
    private var isSweepScheduled = false

    // MARK: Output

    /// Few connections write in the same turn; what many wrote at once is not kept for ever.
    private static let mostOutputs = 256
    private static let mostKeptBytes = 16 * 1024

    func takeOutput() -> Output {
        outputs.popLast() ?? Output()
    }

    func giveBack(_ output: Output) {
        guard outputs.count < Self.mostOutputs, output.bytes.capacity <= Self.mostKeptBytes else { return }
        output.bytes.removeAll(keepingCapacity: true)
        output.receipts.removeAll(keepingCapacity: output.receipts.capacity <= 256)
        outputs.append(output)
    }

    // MARK: Input

    static let receiveBytes = 16 * 1024

    /// The buffer that the next read of the loop goes into. NIO holds it during the read, so it is taken out.
    func takeReceiveBuffer(_ allocator: ByteBufferAllocator) -> ByteBuffer {
        guard var buffer = spareReceiveBuffer else { return allocator.buffer(capacity: Self.receiveBytes) }
        spareReceiveBuffer = nil
        buffer.clear()
        return buffer
    }

    func giveBack(_ buffer: ByteBuffer) {
        if buffer.storageCapacity >= Self.receiveBytes { spareReceiveBuffer = buffer }
    }

    // MARK: Rest

    /// Busy connections, which keep a parser and TLS buffers, oldest first. They give them up when they were silent
    /// from one sweep to the next, or when there are too many.
    private static let mostWarm = 512
    private static let sweepSeconds: Int64 = 2
    private static let sweepInterval = Duration.seconds(sweepSeconds)

    /// Counts sweeps, whether there was something to sweep or not.
    func epoch(_ now: Instant) -> UInt32 {
        UInt32(truncatingIfNeeded: now.nanoseconds / (Self.sweepSeconds * 1_000_000_000))
    }

    func warmUp(_ connection: Connection, on loop: NIOLoop) {
        if warm.count >= Self.mostWarm {
            let coldest = warm.prefix(Self.mostWarm / 2)
            for connection in coldest { connection.rest() }
            warm.removeFirst(coldest.count)
        }
        warm.append(connection)
        guard !isSweepScheduled else { return }
        isSweepScheduled = true
        _ = loop.schedule(after: Self.sweepInterval, Sweep(loop), tag: 0)
    }

    /// For a connection that leaves the loop.
    func forget(_ connection: Connection) {
        if let index = warm.lastIndex(where: { $0 === connection }) { warm.remove(at: index) }
    }

    private func sweep(_ loop: NIOLoop) {
        warm.removeAll { !$0.staysWarm() }
        isSweepScheduled = !warm.isEmpty
        if isSweepScheduled { _ = loop.schedule(after: Self.sweepInterval, Sweep(loop), tag: 0) }
    }

    private final class Sweep: TimerTarget {
        let loop: NIOLoop

        init(_ loop: NIOLoop) {
            self.loop = loop
        }

        func timerFired(_ tag: Int) {
            loop.resources.sweep(loop)
        }
    }
}

/// Gives NIO the loop's receive buffer. The first buffer of a channel stays with it for good, so that one is tiny: it
/// takes the first bytes of the connection, and the rest of them come with the next read.
struct SharedReceiveAllocator: RecvByteBufferAllocator, @unchecked Sendable {
    /// Confined to the loop, as is the channel.
    let resources: LoopResources
    private var isPrimed = false

    init(_ resources: LoopResources) {
        self.resources = resources
    }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        isPrimed ? resources.takeReceiveBuffer(allocator) : allocator.buffer(capacity: 16)
    }

    /// "May grow", so that NIO asks for a buffer each time rather than use the tiny one again.
    mutating func record(actualReadBytes: Int) -> Bool {
        isPrimed = true
        return true
    }
}
