import COpenSSL
import Glibc

/// The client's side of TLS for all connections: TLS 1.2 and 1.3, the server's certificate is not verified.
final class TLSClientContext: @unchecked Sendable {  // SSL_CTX is locked inside; nothing here changes after init
    fileprivate let context: OpaquePointer

    /// - Parameter alpn: offers `xmpp-client`, as a direct TLS connection must (XEP-0368).
    init(alpn: Bool) throws {
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw LoadFailure("no TLS context") }
        self.context = context
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
        let modes = SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS
        _ = martlet_SSL_CTX_set_mode(context, Int(modes))
        _ = martlet_SSL_CTX_set_session_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        martlet_SSL_CTX_set_read_ahead(context, 1)
        if alpn {
            let name: [UInt8] = [11] + "xmpp-client".utf8
            _ = SSL_CTX_set_alpn_protos(context, name, UInt32(name.count))
        }
    }

    deinit {
        SSL_CTX_free(context)
    }
}

/// One connection's TLS over its socket.
final class TLSClient {
    enum Progress {
        case done, wantsRead, wantsWrite
        case failed(String)
    }

    private let ssl: OpaquePointer

    init(_ context: TLSClientContext, descriptor: Int32, serverName: String) throws {
        guard let ssl = SSL_new(context.context), SSL_set_fd(ssl, descriptor) == 1 else {
            throw LoadFailure("no TLS connection")
        }
        self.ssl = ssl
        _ = martlet_SSL_set_tlsext_host_name(ssl, serverName)
        SSL_set_connect_state(ssl)
    }

    deinit {
        SSL_free(ssl)
    }

    func handshake() -> Progress {
        ERR_clear_error()
        let result = SSL_do_handshake(ssl)
        return result == 1 ? .done : progress(of: result)
    }

    /// The number of bytes read; 0: nothing there now; nil: closed or broken.
    func read(into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        ERR_clear_error()
        let result = SSL_read(ssl, buffer.baseAddress, Int32(clamping: buffer.count))
        if result > 0 { return Int(result) }
        if case .failed = progress(of: result) { return nil }
        return 0
    }

    /// The number of bytes taken; 0: none now; nil: closed or broken.
    func write(_ bytes: UnsafeRawBufferPointer) -> Int? {
        ERR_clear_error()
        let result = SSL_write(ssl, bytes.baseAddress, Int32(clamping: bytes.count))
        if result > 0 { return Int(result) }
        if case .failed = progress(of: result) { return nil }
        return 0
    }

    func shutdown() {
        ERR_clear_error()
        _ = SSL_shutdown(ssl)
    }

    private func progress(of result: Int32) -> Progress {
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ: return .wantsRead
        case SSL_ERROR_WANT_WRITE: return .wantsWrite
        case let code:
            var text = [CChar](repeating: 0, count: 256)
            ERR_error_string_n(ERR_peek_error(), &text, text.count)
            let reason = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return .failed("TLS error \(code) \(reason)")
        }
    }
}
