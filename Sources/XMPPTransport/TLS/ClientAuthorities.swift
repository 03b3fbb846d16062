internal import COpenSSL

/// The authorities that one host believes when a client shows a certificate (RFC 6120 §13.7.2, XEP-0178 §2).
///
/// A client is asked for a certificate and need not have one; whichever it shows, the handshake goes on. What the
/// certificate is worth is found out afterwards, by the authorities of the host that the stream is for, whatever name
/// the handshake gave.
final class ClientAuthorities: @unchecked Sendable {
    // Unchecked: nothing changes after `init`; OpenSSL's stores lock themselves.
    private let store: OpaquePointer

    /// Most certificates between the client's and an authority's.
    static let mostIntermediates: CInt = 4
    /// A certificate for more names than that is for nobody.
    static let mostNames: CInt = 64
    /// Bytes of all certificates that a client may send; with more of them the handshake fails.
    static let mostBytes = 32 << 10
    /// Bytes of the longest bare address (RFC 7622 §3).
    private static let longestAddress: CInt = 2047

    /// Nil: the file holds no certificate in PEM.
    init?(file: String) {
        guard let store = X509_STORE_new() else { return nil }
        guard X509_STORE_load_file(store, file) == 1 else {
            X509_STORE_free(store)
            ERR_clear_error()
            return nil
        }
        self.store = store
    }

    deinit {
        X509_STORE_free(store)
    }

    /// The addresses in a certificate that can be believed; none if it cannot.
    func addresses(in certificate: OpaquePointer, chain: OpaquePointer?) -> [String] {
        guard isValid(certificate, chain) else { return [] }
        return Self.addresses(in: certificate)
    }

    /// Signed by an authority, of this day, and made for clients of TLS.
    private func isValid(_ certificate: OpaquePointer, _ chain: OpaquePointer?) -> Bool {
        ERR_clear_error()
        defer { ERR_clear_error() }
        guard let context = X509_STORE_CTX_new() else { return false }
        defer { X509_STORE_CTX_free(context) }
        guard X509_STORE_CTX_init(context, store, certificate, chain) == 1,
            let parameters = X509_STORE_CTX_get0_param(context),
            X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_SSL_CLIENT) == 1,
            // Whoever stands in the file is an authority, one that another one has signed as well.
            X509_VERIFY_PARAM_set_flags(parameters, UInt(X509_V_FLAG_PARTIAL_CHAIN)) == 1
        else { return false }
        X509_VERIFY_PARAM_set_depth(parameters, Self.mostIntermediates)
        // No keys and hashes that can be broken (112 bits).
        X509_VERIFY_PARAM_set_auth_level(parameters, 2)
        return X509_verify_cert(context) == 1
    }

    /// Each `id-on-xmppAddr` of the subjectAltName (RFC 6120 §13.7.1.4), as it stands there. Nothing else in a
    /// certificate is an address: no common name, no other kind of name, and no text of either.
    static func addresses(in certificate: OpaquePointer) -> [String] {
        // Nil, too, when there are two of them.
        guard let found = X509_get_ext_d2i(certificate, NID_subject_alt_name, nil, nil) else { return [] }
        let names = OpaquePointer(found)
        defer { martlet_GENERAL_NAMES_free(names) }
        let count = martlet_sk_GENERAL_NAME_num(names)
        guard count <= mostNames else { return [] }
        var addresses: [String] = []
        for index in 0..<max(0, count) {
            guard let name = martlet_sk_GENERAL_NAME_value(names, index), let text = martlet_xmpp_address(name) else {
                continue
            }
            let length = ASN1_STRING_length(text)
            guard (1...longestAddress).contains(length), let bytes = ASN1_STRING_get0_data(text) else { continue }
            // A NUL would end the address for some and not for others.
            let characters = UnsafeBufferPointer(start: bytes, count: Int(length))
            guard !characters.contains(0), let address = String(validating: characters, as: UTF8.self) else { continue }
            addresses.append(address)
        }
        return addresses
    }
}
