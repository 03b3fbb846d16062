internal import COpenSSL
internal import Glibc
internal import ModuleKit
internal import XMPPServer

/// TLS of one connection: OpenSSL's state and nothing else. Bytes come and go through the loop's scratch.
/// Confined to the loop of its connection.
final class TLSSession {
    enum HandshakeResult {
        case done
        case wantsMore
        case failed
    }

    enum ReadResult {
        /// So many bytes are in the scratch's plaintext.
        case bytes(Int)
        case wantsMore
        /// The peer said that it sends no more (close_notify).
        case ended
        case failed
    }

    private let ssl: OpaquePointer
    private let context: TLSContext
    /// The stream named one of the hosts: its certificate is shown, whatever name the handshake has.
    private let isHostSettled: Bool

    /// - Parameter host: the virtual host that the stream is for (canonical), if that is known already. If it has a
    ///   certificate, that one is shown: RFC 6120 §13.7.2.1 has clients check the name that they put into `to`.
    ///   Otherwise the name that the client says in the handshake decides.
    init?(_ context: TLSContext, host: String?, scratch: TLSScratch) {
        ERR_clear_error()
        guard let ssl = SSL_new(context.identity(for: host).context) else { return nil }
        guard let pipe = scratch.makePipe() else {
            SSL_free(ssl)
            return nil
        }
        SSL_set_bio(ssl, pipe, pipe)
        SSL_set_accept_state(ssl)
        self.ssl = ssl
        self.context = context
        isHostSettled = context.hasCertificate(for: host)
    }

    deinit {
        SSL_free(ssl)
    }

    /// From now on this loop's scratch is used.
    func move(to scratch: TLSScratch) {
        guard let pipe = scratch.sharedPipe() else { return }
        SSL_set_bio(ssl, pipe, pipe)
    }

    func handshake(_ scratch: TLSScratch) -> HandshakeResult {
        Self.forgetErrors()
        scratch.isHostSettled = isHostSettled
        defer { scratch.isHostSettled = false }
        let result = SSL_do_handshake(ssl)
        if result == 1 {
            move(to: scratch)
            return .done
        }
        return SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ ? .wantsMore : .failed
    }

    func read(_ scratch: TLSScratch) -> ReadResult {
        Self.forgetErrors()
        let count = SSL_read(ssl, scratch.plaintext.baseAddress, CInt(scratch.plaintext.count))
        if count > 0 { return .bytes(Int(count)) }
        return switch SSL_get_error(ssl, count) {
        case SSL_ERROR_WANT_READ: .wantsMore
        case SSL_ERROR_ZERO_RETURN: .ended
        default: .failed
        }
    }

    /// Nothing is decrypted that was not given out.
    var isDrained: Bool { SSL_pending(ssl) == 0 }

    /// Whatever else this thread does with OpenSSL may have left errors, which would be taken for this connection's.
    /// Looking first costs a fifth of clearing an empty queue.
    @inline(__always)
    private static func forgetErrors() {
        if ERR_peek_error() != 0 { ERR_clear_error() }
    }

    /// Encrypts into the scratch's output; false: the connection is of no use any more.
    func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
        Self.forgetErrors()
        var rest = bytes
        while !rest.isEmpty {
            let count = SSL_write(ssl, rest.baseAddress, CInt(min(rest.count, 1 << 30)))
            guard count > 0 else { return false }
            rest = UnsafeRawBufferPointer(rebasing: rest[Int(count)...])
        }
        return true
    }

    /// Says that nothing more is sent.
    func end() {
        ERR_clear_error()
        _ = SSL_shutdown(ssl)
        ERR_clear_error()
    }

    /// Gives up the buffers for records, if no record is half read.
    func rest() {
        _ = SSL_free_buffers(ssl)
    }

    // MARK: Facts

    var info: TLSInfo {
        TLSInfo(
            version: String(cString: SSL_get_version(ssl)),
            cipher: martlet_SSL_get_cipher_name(ssl).map { String(cString: $0) } ?? "",
            serverName: SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name).map { String(cString: $0) })
    }

    /// What the client's certificate says of who it is, if this host believes it.
    func certifiedAddresses(for host: String) -> [String] {
        guard let authorities = context.authorities(of: host),
            let certificate = martlet_SSL_get1_peer_certificate(ssl)
        else { return [] }
        defer { X509_free(certificate) }
        return authorities.addresses(in: certificate, chain: SSL_get_peer_cert_chain(ssl))
    }

    func channelBinding(_ type: ChannelBindingType) -> [UInt8]? {
        switch type {
        case .tlsServerEndPoint: context.endPoint(of: SSL_get_SSL_CTX(ssl))
        case .tlsExporter: exporter()
        }
    }

    /// RFC 9266 §4.2: only where the master secret is bound to the handshake.
    private func exporter() -> [UInt8]? {
        guard SSL_version(ssl) >= TLS1_3_VERSION || martlet_SSL_get_extms_support(ssl) == 1 else { return nil }
        let label = "EXPORTER-Channel-Binding"
        var bytes = [UInt8](repeating: 0, count: 32)
        let result = SSL_export_keying_material(ssl, &bytes, bytes.count, label, label.utf8.count, nil, 0, 1)
        guard result == 1 else {
            ERR_clear_error()
            return nil
        }
        return bytes
    }
}
