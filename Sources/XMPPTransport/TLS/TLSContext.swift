internal import COpenSSL
internal import Glibc

/// The certificates of the virtual hosts and what TLS is spoken with them. Immutable: new certificates are a new
/// context, and connections keep the one they began with.
///
/// TLS 1.2 with forward secrecy and authenticated encryption, or 1.3. Clients are asked for a certificate where the host
/// has authorities for them. No compression, renegotiation or early data, and no session tickets: clients keep their
/// streams for hours and resume them by XEP-0198, so resuming TLS saves little, and each ticket would cost memory per
/// connection and a key that has to be changed.
public final class TLSContext: @unchecked Sendable {
    // Unchecked: nothing changes after `init`, and OpenSSL counts references to its contexts by atomics.
    /// A certificate with its chain and key, in PEM files, and the virtual hosts it is for: in the form of SNI (lower
    /// case, A-labels), and in the canonical one, by which streams are known.
    public struct Certificate: Hashable, Sendable {
        public var hosts: [String]
        public var chainFile: String
        public var keyFile: String
        /// Nil: clients are not asked for a certificate.
        public var clients: Clients?

        public init(hosts: [String], chainFile: String, keyFile: String, clients: Clients? = nil) {
            self.hosts = hosts
            self.chainFile = chainFile
            self.keyFile = keyFile
            self.clients = clients
        }
    }

    /// Whose certificates clients of a host may show.
    public struct Clients: Hashable, Sendable {
        /// Canonical, as the server knows it.
        public var host: String
        /// PEM: the authorities.
        public var authoritiesFile: String

        public init(host: String, authoritiesFile: String) {
            self.host = host
            self.authoritiesFile = authoritiesFile
        }
    }

    /// Why there is no context: which file, and what is wrong with it.
    public struct Failure: Error, Hashable, CustomStringConvertible {
        public var file: String
        public var reason: String

        public var description: String { file.isEmpty ? reason : "\(file): \(reason)" }
    }

    /// What belongs to one certificate.
    struct Identity {
        let context: OpaquePointer
        /// Of the certificate, for `tls-server-end-point`; nil: its signature names no hash (RFC 5929 §4.1).
        let endPoint: [UInt8]?
    }

    /// The first one serves whoever names no host or an unknown one.
    private let identities: [Identity]
    private let byHost: [String: Int]
    private let authorities: [String: ClientAuthorities]
    /// The one application protocol, with its length before it (RFC 7301 §3.1).
    fileprivate let protocolList: [UInt8]

    /// - Parameter applicationProtocol: what clients that use ALPN must offer; `xmpp-client` or `xmpp-server`.
    public init(_ certificates: [Certificate], applicationProtocol: String = "xmpp-client") throws(Failure) {
        guard !certificates.isEmpty else { throw Failure(file: "", reason: "there is no certificate") }
        let name = Array(applicationProtocol.utf8.prefix(255))
        protocolList = [UInt8(name.count)] + name

        var identities: [Identity] = []
        var byHost: [String: Int] = [:]
        var authorities: [String: ClientAuthorities] = [:]
        var files: [String: ClientAuthorities] = [:]
        for certificate in certificates {
            do throws(Failure) {
                identities.append(try Self.load(certificate))
                if let clients = certificate.clients {
                    let file = clients.authoritiesFile
                    if files[file] == nil { files[file] = try Self.authorities(file) }
                    authorities[clients.host] = files[file]
                }
            } catch {
                for identity in identities { SSL_CTX_free(identity.context) }
                throw error
            }
            for host in certificate.hosts where byHost[host] == nil { byHost[host.lowercased()] = identities.count - 1 }
        }
        self.identities = identities
        self.byHost = byHost
        self.authorities = authorities
        for identity in identities { installCallbacks(identity.context) }
    }

    deinit {
        for identity in identities { SSL_CTX_free(identity.context) }
    }

    /// The certificate for this host; the default one when there is none of its own.
    func identity(for host: String?) -> Identity {
        identities[host.flatMap { byHost[$0] } ?? 0]
    }

    /// Whether this host has one of its own.
    func hasCertificate(for host: String?) -> Bool { host.map { byHost[$0] != nil } ?? false }

    fileprivate func identity(named host: String) -> Identity? {
        byHost[host].map { identities[$0] }
    }

    /// Whom this host (canonical name) believes; nil: it takes no certificates.
    func authorities(of host: String) -> ClientAuthorities? {
        authorities[host]
    }

    func endPoint(of context: OpaquePointer?) -> [UInt8]? {
        identities.first { $0.context == context }?.endPoint
    }

    // MARK: Loading

    private static func load(_ certificate: Certificate) throws(Failure) -> Identity {
        try checkReadable(certificate.chainFile)
        try checkReadable(certificate.keyFile)
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let context = SSL_CTX_new(TLS_server_method()) else {
            throw Failure(file: "", reason: "OpenSSL cannot make a context: \(lastError())")
        }
        do throws(Failure) {
            try configure(context)
            // Never ask the terminal for a passphrase.
            SSL_CTX_set_default_passwd_cb(context) { _, _, _, _ in -1 }
            guard SSL_CTX_use_certificate_chain_file(context, certificate.chainFile) == 1 else {
                throw Failure(file: certificate.chainFile, reason: "not a certificate chain in PEM: \(lastError())")
            }
            guard SSL_CTX_use_PrivateKey_file(context, certificate.keyFile, SSL_FILETYPE_PEM) == 1 else {
                let isForeign = martlet_ERR_GET_LIB(ERR_peek_last_error()) == ERR_LIB_X509
                throw Failure(
                    file: certificate.keyFile,
                    reason: isForeign
                        ? "not the key of the certificate in \(certificate.chainFile)"
                        : "not an unencrypted private key in PEM: \(lastError())")
            }
            guard SSL_CTX_check_private_key(context) == 1 else {
                throw Failure(
                    file: certificate.keyFile, reason: "not the key of the certificate in \(certificate.chainFile)")
            }
            if let clients = certificate.clients { try ask(for: clients, context) }
        } catch {
            SSL_CTX_free(context)
            throw error
        }
        return Identity(context: context, endPoint: endPointHash(SSL_CTX_get0_certificate(context)))
    }

    private static func authorities(_ file: String) throws(Failure) -> ClientAuthorities {
        try checkReadable(file)
        guard let authorities = ClientAuthorities(file: file) else {
            throw Failure(file: file, reason: "holds no certificate in PEM")
        }
        return authorities
    }

    private static func checkReadable(_ file: String) throws(Failure) {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: file, reason: String(cString: strerror(errno))) }
        var status = stat()
        let isFile = fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
        Glibc.close(descriptor)
        guard isFile else { throw Failure(file: file, reason: "not a file") }
    }

    private static func configure(_ context: OpaquePointer) throws(Failure) {
        let isDone =
            martlet_SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1
            && SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1
            && SSL_CTX_set_ciphersuites(
                context, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384") == 1
            && martlet_SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1
        guard isDone else { throw Failure(file: "", reason: "OpenSSL refuses the settings: \(lastError())") }
        SSL_CTX_set_options(
            context,
            martlet_SSL_OP_NO_COMPRESSION | martlet_SSL_OP_NO_RENEGOTIATION | martlet_SSL_OP_NO_TICKET
                | martlet_SSL_OP_CIPHER_SERVER_PREFERENCE | martlet_SSL_OP_PRIORITIZE_CHACHA)
        SSL_CTX_set_num_tickets(context, 0)
        SSL_CTX_set_max_early_data(context, 0)
        _ = martlet_SSL_CTX_set_session_cache_mode(context, Int(SSL_SESS_CACHE_OFF))
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, nil)
        martlet_SSL_CTX_set_read_ahead(context, 0)
        _ = martlet_SSL_CTX_set_max_cert_list(context, ClientAuthorities.mostBytes)
    }

    /// The client may show a certificate, and what it is worth is not decided here: see `ClientAuthorities`. That it has
    /// the key of it, OpenSSL sees to.
    private static func ask(for clients: Clients, _ context: OpaquePointer) throws(Failure) {
        try checkReadable(clients.authoritiesFile)
        guard let names = SSL_load_client_CA_file(clients.authoritiesFile) else {
            throw Failure(file: clients.authoritiesFile, reason: "holds no certificate in PEM")
        }
        SSL_CTX_set_client_CA_list(context, names)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
        SSL_CTX_set_cert_verify_callback(context, { _, _ in 1 }, nil)
    }

    private static func endPointHash(_ certificate: OpaquePointer?) -> [UInt8]? {
        guard let certificate else { return nil }
        var hash = NID_undef
        guard X509_get_signature_info(certificate, &hash, nil, nil, nil) == 1, hash != NID_undef else { return nil }
        // RFC 5929 §4.1: MD5 and SHA-1 are replaced.
        if hash == NID_md5 || hash == NID_sha1 { hash = NID_sha256 }
        guard let digest = EVP_get_digestbyname(OBJ_nid2sn(hash)) else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        guard X509_digest(certificate, digest, &bytes, &count) == 1 else { return nil }
        return Array(bytes.prefix(Int(count)))
    }

    static func lastError() -> String {
        let code = ERR_peek_last_error()
        guard code != 0, let reason = ERR_reason_error_string(code) else { return "no reason given" }
        return String(cString: reason)
    }

    // MARK: Callbacks

    private func installCallbacks(_ context: OpaquePointer) {
        let this = Unmanaged.passUnretained(self).toOpaque()
        martlet_SSL_CTX_set_tlsext_servername_callback(
            context,
            { ssl, _, argument in
                guard let ssl, let argument else { return SSL_TLSEXT_ERR_NOACK }
                return Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue().choose(ssl)
            }, this)
        SSL_CTX_set_alpn_select_cb(
            context,
            { _, chosen, chosenCount, offered, offeredCount, argument in
                guard let chosen, let chosenCount, let offered, let argument else {
                    return SSL_TLSEXT_ERR_ALERT_FATAL
                }
                let ours = Unmanaged<TLSContext>.fromOpaque(argument).takeUnretainedValue().protocolList
                let offer = UnsafeRawBufferPointer(start: offered, count: Int(offeredCount))
                guard let position = TLSContext.position(of: ours, in: offer) else {
                    return SSL_TLSEXT_ERR_ALERT_FATAL
                }
                chosen.pointee = offered + position + 1
                chosenCount.pointee = UInt8(ours.count - 1)
                return SSL_TLSEXT_ERR_OK
            }, this)
    }

    /// Where the list of protocols, each with its length before it, has this one.
    private static func position(of wanted: [UInt8], in list: UnsafeRawBufferPointer) -> Int? {
        var position = 0
        while position < list.count {
            let end = position + 1 + Int(list[position])
            guard end <= list.count else { return nil }
            if list[position..<end].elementsEqual(wanted) { return position }
            position = end
        }
        return nil
    }

    private func choose(_ ssl: OpaquePointer) -> CInt {
        if let pipe = SSL_get_rbio(ssl), TLSScratch.of(pipe)?.isHostSettled == true { return SSL_TLSEXT_ERR_NOACK }
        guard let pointer = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name) else { return SSL_TLSEXT_ERR_NOACK }
        guard let identity = identity(named: String(cString: pointer).lowercased()) else {
            return SSL_TLSEXT_ERR_NOACK
        }
        SSL_set_SSL_CTX(ssl, identity.context)
        // Whether a certificate is asked for does not come along by itself.
        SSL_set_verify(ssl, SSL_CTX_get_verify_mode(identity.context), nil)
        return SSL_TLSEXT_ERR_OK
    }
}
