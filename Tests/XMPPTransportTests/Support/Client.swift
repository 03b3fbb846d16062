import COpenSSL
import Glibc

/// A client with a blocking socket; nothing in it waits for longer than 20 seconds.
final class Client: @unchecked Sendable {
    struct Failure: Error {
        var reason: String
    }

    let descriptor: CInt
    private var ssl: OpaquePointer?
    private var context: OpaquePointer?
    private(set) var received: [UInt8] = []

    init(port: Int, receiveBuffer: CInt? = nil) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(reason: "socket: \(errno)") }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        // What is sent in pieces arrives in pieces, and at once.
        var on: CInt = 1
        setsockopt(descriptor, CInt(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<CInt>.size))
        if var receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<CInt>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            Glibc.close(descriptor)
            throw Failure(reason: "connect: \(errno)")
        }
    }

    deinit {
        if let ssl { SSL_free(ssl) }
        if let context { SSL_CTX_free(context) }
        Glibc.close(descriptor)
    }

    // MARK: Bytes

    func send(_ text: String) throws {
        try send(Array(text.utf8))
    }

    func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { bytes in
                ssl.map { Int(SSL_write($0, bytes.baseAddress, CInt(bytes.count))) }
                    ?? Glibc.send(descriptor, bytes.baseAddress, bytes.count, CInt(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Failure(reason: "send: \(errno)") }
            rest = rest.dropFirst(count)
        }
    }

    /// Reads once; false: there is nothing more to come.
    @discardableResult
    func receive() throws -> Bool {
        var buffer = [UInt8](repeating: 0, count: 64 * 1024)
        let count = buffer.withUnsafeMutableBytes { bytes in
            ssl.map { Int(SSL_read($0, bytes.baseAddress, CInt(bytes.count))) }
                ?? recv(descriptor, bytes.baseAddress, bytes.count, 0)
        }
        if count > 0 {
            received += buffer[..<count]
            return true
        }
        if ssl == nil, count < 0 {
            if errno == ECONNRESET { return false }
            throw Failure(reason: "receive: \(errno)")
        }
        return false
    }

    /// Takes everything up to and including this text.
    @discardableResult
    func receive(until text: String) throws -> String {
        let wanted = Array(text.utf8)
        var searched = 0
        while true {
            if let end = received.end(of: wanted, from: max(0, searched - wanted.count)) {
                defer { received.removeFirst(end) }
                return String(decoding: received[..<end], as: UTF8.self)
            }
            searched = received.count
            guard try receive() else {
                throw Failure(reason: "the end came before \(text): \(String(decoding: received, as: UTF8.self))")
            }
        }
    }

    /// Everything up to the end of the connection.
    func receiveToEnd() throws -> String {
        while try receive() {}
        defer { received = [] }
        return String(decoding: received, as: UTF8.self)
    }

    // MARK: Stream

    static let header =
        "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
        + "xmlns:stream='http://etherx.jabber.org/streams'>"

    func openStream(to host: String = "localhost") throws {
        try send(Self.header.replacing("'localhost'", with: "'\(host)'"))
        try receive(until: "<stream:stream")
        try receive(until: ">")
    }

    // MARK: Ends

    func shutdownWriting() {
        if let ssl { SSL_shutdown(ssl) }
        shutdown(descriptor, CInt(SHUT_WR))
    }

    /// The next close sends a reset.
    func prepareReset() {
        var option = Glibc.linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<Glibc.linger>.size))
    }

    // MARK: TLS

    func startTLS(
        serverName: String? = "localhost", applicationProtocol: String? = nil, version: CInt? = nil,
        groups: String? = nil
    ) throws {
        let context = SSL_CTX_new(TLS_client_method())
        self.context = context
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
        if let version {
            _ = martlet_SSL_CTX_set_min_proto_version(context, version)
            _ = martlet_SSL_CTX_set_max_proto_version(context, version)
        }
        if let groups { _ = martlet_SSL_CTX_set1_groups_list(context, groups) }
        if let applicationProtocol {
            let name = Array(applicationProtocol.utf8)
            let list = [UInt8(name.count)] + name
            SSL_CTX_set_alpn_protos(context, list, UInt32(list.count))
        }
        guard let ssl = SSL_new(context) else { throw Failure(reason: "no TLS") }
        self.ssl = ssl
        SSL_set_fd(ssl, descriptor)
        if let serverName { _ = martlet_SSL_set_tlsext_host_name(ssl, serverName) }
        ERR_clear_error()
        let result = SSL_connect(ssl)
        guard result == 1 else { throw Failure(reason: "handshake: \(SSL_get_error(ssl, result))") }
    }

    var exporter: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 32)
        let label = "EXPORTER-Channel-Binding"
        SSL_export_keying_material(ssl, &bytes, 32, label, label.utf8.count, nil, 0, 1)
        return bytes
    }

    /// SHA-256 of the server's certificate.
    var endPoint: [UInt8] {
        guard let ssl, let certificate = martlet_SSL_get1_peer_certificate(ssl) else { return [] }
        defer { X509_free(certificate) }
        var bytes = [UInt8](repeating: 0, count: 32)
        X509_digest(certificate, EVP_sha256(), &bytes, nil)
        return bytes
    }

    var serverCertificateName: String {
        guard let ssl, let certificate = martlet_SSL_get1_peer_certificate(ssl) else { return "" }
        defer { X509_free(certificate) }
        var name = [CChar](repeating: 0, count: 256)
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, &name, 256)
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var chosenProtocol: String {
        var bytes: UnsafePointer<UInt8>?
        var count: UInt32 = 0
        SSL_get0_alpn_selected(ssl, &bytes, &count)
        return String(decoding: UnsafeBufferPointer(start: bytes, count: Int(count)), as: UTF8.self)
    }

    func renegotiate() -> Bool {
        guard let ssl else { return false }
        return SSL_renegotiate(ssl) == 1 && SSL_do_handshake(ssl) == 1
    }

    func updateKey() -> Bool {
        guard let ssl else { return false }
        return SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1
    }
}

extension [UInt8] {
    fileprivate func end(of wanted: [UInt8], from start: Int) -> Int? {
        var position = start
        while position + wanted.count <= count {
            if self[position] == wanted[0], self[position..<position + wanted.count].elementsEqual(wanted) {
                return position + wanted.count
            }
            position += 1
        }
        return nil
    }
}
