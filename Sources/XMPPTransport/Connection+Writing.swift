internal import Glibc
internal import ModuleKit
internal import NIOCore
internal import XML
internal import XMPPCore
internal import XMPPServer

/// What one connection has written and the kernel did not take: NIO has the bytes, and this knows how many, and who
/// waits for them.
final class Backlog {
    /// Bytes of chunks that are not written as a whole.
    var bytes = 0
    var queuedChunks: UInt64 = 0
    var writtenChunks: UInt64 = 0
    /// Receipts with the chunk that has to be written before they may go, oldest first.
    var waiting: [(chunk: UInt64, receipts: [Receipt])] = []
    /// Receipts of what will never be written.
    var stranded: [Receipt] = []
}

extension Connection {
    /// Below so much a handler that asked to hear of it is told that it may write again.
    static let lowMark = 16 * 1024
    /// Bytes are handed to NIO in pieces of this size, so that progress shows.
    private static let chunkBytes = 16 * 1024
    private static let sendFlags = CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT)

    /// Where to render; nil: nothing can be sent any more.
    @inline(__always)
    func outputForSending() -> Output? {
        if let output { return output.late.isEmpty ? output : outputBehindLate(output) }
        guard phase == .open || phase == .securing || phase == .moving, !flags.contains(.dead) else { return nil }
        let taken = nioLoop.resources.takeOutput()
        output = taken
        touch()
        return taken
    }

    var pendingBytes: Int {
        (output?.byteCount ?? 0) + (backlog?.bytes ?? 0)
    }

    /// Writes what was rendered. Where TLS is being negotiated it has to wait; where the channel is gone it stays, so
    /// that no receipt is let go before the handler knows.
    func flush() {
        guard let output, !flags.contains(.dead), phase != .securing else { return }
        if !output.late.isEmpty { renderLate(output) }
        guard output.late.isEmpty else { return flushPart(of: output) }
        self.output = nil
        write(output)
        nioLoop.resources.giveBack(output)
    }

    /// The rest is rendered when the loop has looked after others.
    private func flushPart(of output: Output) {
        write(output)
        output.bytes.removeAll(keepingCapacity: false)
        output.receipts = []
        nioLoop.later { [self] in touch() }
    }

    private func write(_ output: Output) {
        if let session {
            let scratch = nioLoop.resources.tls
            use()
            scratch.clearOutput()
            let isEncrypted = output.bytes.withBytes { session.write($0) }
            guard isEncrypted else {
                keep(output.late.reduce(output.receipts) { $0 + $1.receipts })
                return abort()
            }
            if !flags.contains(.warm) { session.rest() }
            scratch.output.withBytes { transmit($0, &output.receipts) }
            scratch.clearOutput()
        } else {
            output.bytes.withBytes { transmit($0, &output.receipts) }
        }
    }

    /// Sends what OpenSSL wants to say by itself.
    func flushScratch() {
        let scratch = nioLoop.resources.tls
        guard !scratch.output.isEmpty, !flags.contains(.dead) else { return }
        var none: [Receipt] = []
        scratch.output.withBytes { transmit($0, &none) }
        scratch.clearOutput()
    }

    /// Gives bytes to the kernel, and to NIO what it does not take now. Receipts that have to wait are taken out.
    func transmit(_ bytes: UnsafeRawBufferPointer, _ receipts: inout [Receipt]) {
        var rest = bytes
        if backlog == nil, descriptor >= 0, let base = bytes.baseAddress, bytes.count > 0 {
            // Past NIO: it would copy the bytes and allocate for each write. Any error but a full socket is left to it.
            let count = Glibc.send(descriptor, base, bytes.count, Self.sendFlags)
            if count > 0 { rest = UnsafeRawBufferPointer(rebasing: bytes[count...]) }
        }
        guard !rest.isEmpty else { return }
        enqueue(rest, &receipts)
    }

    private func enqueue(_ bytes: UnsafeRawBufferPointer, _ receipts: inout [Receipt]) {
        guard let context else { return keep(receipts) }
        let backlog = self.backlog ?? Backlog()
        self.backlog = backlog
        var rest = bytes
        while !rest.isEmpty {
            let count = min(rest.count, Self.chunkBytes)
            var buffer = context.channel.allocator.buffer(capacity: count)
            buffer.writeBytes(UnsafeRawBufferPointer(rebasing: rest[..<count]))
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            backlog.bytes += count
            backlog.queuedChunks += 1
            let promise = context.eventLoop.makePromise(of: Void.self)
            promise.futureResult.whenComplete { result in self.chunkEnded(count, result) }
            context.write(Self.wrapOutboundOut(buffer), promise: promise)
        }
        if !receipts.isEmpty {
            backlog.waiting.append((backlog.queuedChunks, receipts))
            receipts = []
        }
        context.flush()
    }

    private func chunkEnded(_ count: Int, _ result: Result<Void, any Error>) {
        guard let backlog else { return }
        guard case .success = result else {
            // The channel is closing, and says so next. The receipts stay with the backlog until then.
            descriptor = -1
            return
        }
        backlog.bytes -= count
        backlog.writtenChunks += 1
        if let first = backlog.waiting.first, first.chunk <= backlog.writtenChunks {
            let kept = backlog.waiting.firstIndex { $0.chunk > backlog.writtenChunks } ?? backlog.waiting.count
            backlog.waiting.removeFirst(kept)
        }
        if backlog.writtenChunks == backlog.queuedChunks, backlog.stranded.isEmpty { self.backlog = nil }
        touch()
    }

    /// Keeps receipts of what cannot be written until the handler knows that the stream is over.
    func keep(_ receipts: [Receipt]) {
        guard !receipts.isEmpty else { return }
        let backlog = self.backlog ?? Backlog()
        self.backlog = backlog
        backlog.stranded += receipts
    }

    /// Nothing is written any more, and that is not for the receipt to say.
    func keepForEnd(_ receipt: Receipt?) {
        if phase != .closed, let receipt { keep([receipt]) }
    }

    var isEverythingWritten: Bool { output == nil && (backlog?.bytes ?? 0) == 0 }

    func tellWritable() {
        guard pendingBytes < Self.lowMark, !flags.contains(.dead) else { return }
        flags.remove(.wantsWritable)
        handler?.writable()
    }
}
