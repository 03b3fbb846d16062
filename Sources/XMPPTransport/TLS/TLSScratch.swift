internal import COpenSSL
internal import Glibc
internal import XML

/// What OpenSSL reads from and writes to on one loop. Connections use it in turn: before each call the bytes that
/// arrived are put in, and after it the bytes to send are taken out, so no connection owns a buffer.
/// Confined to the loop.
final class TLSScratch {
    /// Bytes that arrived and that OpenSSL has not taken. Good during one call only.
    var input = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Bytes to send.
    let output = OutputBuffer(capacity: 1024)
    /// The handshake that runs is for a host that is known. Good during one call only.
    var isHostSettled = false
    /// Where the bytes of one record are decrypted to.
    let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: 16 * 1024, alignment: 16)
    /// All established connections of the loop speak through this one.
    private var shared: OpaquePointer?

    deinit {
        plaintext.deallocate()
        if let shared { BIO_free(shared) }
    }

    /// A pipe of its own, for a handshake: OpenSSL chains another one to it meanwhile.
    func makePipe() -> OpaquePointer? {
        guard let method = Self.method, let pipe = BIO_new(method) else { return nil }
        BIO_set_data(pipe, Unmanaged.passUnretained(self).toOpaque())
        return pipe
    }

    /// The pipe of the loop, with a reference for the caller.
    func sharedPipe() -> OpaquePointer? {
        if shared == nil { shared = makePipe() }
        guard let shared, BIO_up_ref(shared) == 1 else { return nil }
        return shared
    }

    func clearOutput() {
        output.removeAll(keepingCapacity: output.capacity <= 64 * 1024)
    }

    /// What kind of thing the pipe is; one per process, and never freed.
    private nonisolated(unsafe) static let method: OpaquePointer? = {
        guard let method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "martlet loop") else { return nil }
        BIO_meth_set_create(method) { pipe in
            BIO_set_init(pipe, 1)
            return 1
        }
        BIO_meth_set_read(method) { pipe, bytes, count in
            guard let pipe, let bytes, let scratch = TLSScratch.of(pipe) else { return -1 }
            martlet_BIO_clear_retry_flags(pipe)
            let taken = min(Int(max(count, 0)), scratch.input.count)
            guard taken > 0, let source = scratch.input.baseAddress else {
                martlet_BIO_set_retry_read(pipe)
                return -1
            }
            memcpy(bytes, source, taken)
            scratch.input = UnsafeRawBufferPointer(rebasing: scratch.input[taken...])
            return CInt(taken)
        }
        BIO_meth_set_write(method) { pipe, bytes, count in
            guard let pipe, let bytes, count > 0, let scratch = TLSScratch.of(pipe) else { return -1 }
            martlet_BIO_clear_retry_flags(pipe)
            scratch.output.append(UnsafeRawBufferPointer(start: bytes, count: Int(count)))
            return count
        }
        BIO_meth_set_ctrl(method) { _, command, _, _ in
            command == BIO_CTRL_FLUSH ? 1 : 0
        }
        return method
    }()

    static func of(_ pipe: OpaquePointer) -> TLSScratch? {
        BIO_get_data(pipe).map { Unmanaged<TLSScratch>.fromOpaque($0).takeUnretainedValue() }
    }
}
