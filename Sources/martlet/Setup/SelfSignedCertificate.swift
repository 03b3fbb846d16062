import CIDN2
import COpenSSL
import Foundation
import ModuleKit

/// A certificate that nobody vouches for: good for trying the server out, and for clients that are told to trust it.
struct SelfSignedCertificate {
    /// PEM.
    let certificate: [UInt8]
    /// PEM, without a passphrase.
    let key: [UInt8]

    /// Days that it is good for.
    static let days = 825

    /// Makes a P-256 key and a certificate for a domain (RFC 6125: by its subject alternative name, in ASCII form; an
    /// address is named as one).
    ///
    /// - Throws: `CommandError` if OpenSSL cannot do it.
    init(domain: String) throws(CommandError) {
        let failure = CommandError("OpenSSL cannot make a certificate")
        let address = Self.address(domain)
        guard let ascii = address ?? Self.ascii(domain) else { throw CommandError("\(domain) has no ASCII form") }
        guard let keyPair = martlet_EVP_EC_gen("P-256") else { throw failure }
        defer { EVP_PKEY_free(keyPair) }
        guard let certificate = X509_new() else { throw failure }
        defer { X509_free(certificate) }

        var names = address.map { "IP:\($0)" } ?? "DNS:\(ascii)"
        if ascii == "localhost" { names += ",IP:127.0.0.1,IP:::1" }
        guard X509_set_version(certificate, 2) == 1, Self.setSerial(certificate),
            X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != nil,
            X509_gmtime_adj(X509_getm_notAfter(certificate), Self.days * 86_400) != nil,
            X509_set_pubkey(certificate, keyPair) == 1, Self.setNames(certificate, ascii),
            Self.add(NID_basic_constraints, "critical,CA:FALSE", to: certificate),
            Self.add(NID_key_usage, "critical,digitalSignature", to: certificate),
            Self.add(NID_ext_key_usage, "serverAuth,clientAuth", to: certificate),
            Self.add(NID_subject_alt_name, names, to: certificate),
            X509_sign(certificate, keyPair, EVP_sha256()) > 0,
            let certificatePEM = Self.pem({ PEM_write_bio_X509($0, certificate) }),
            let keyPEM = Self.pem({ PEM_write_bio_PKCS8PrivateKey($0, keyPair, nil, nil, 0, nil, nil) })
        else { throw failure }
        (self.certificate, key) = (certificatePEM, keyPEM)
    }

    /// The IP address that a host is, without brackets; nil: it is a name.
    static func address(_ host: String) -> String? {
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        let text = isBracketed ? String(host.dropFirst().dropLast()) : host
        var address = in6_addr()
        return inet_pton(isBracketed ? AF_INET6 : AF_INET, text, &address) == 1 ? text : nil
    }

    /// The form of a domain that certificates and TLS use; nil: it has none.
    static func ascii(_ domain: String) -> String? {
        var result: UnsafeMutablePointer<CChar>?
        guard idn2_to_ascii_8z(domain, &result, Int32(IDN2_NONTRANSITIONAL.rawValue)) == IDN2_OK.rawValue, let result
        else { return nil }
        defer { idn2_free(result) }
        let text = String(cString: result)
        // It goes into OpenSSL's little language for extensions.
        guard text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }), !text.contains(where: { ",;\"\\".contains($0) }) else {
            return nil
        }
        return text
    }

    /// 127 random bits (RFC 5280 §4.1.2.2).
    private static func setSerial(_ certificate: OpaquePointer) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard RAND_bytes(&bytes, 16) == 1 else { return false }
        bytes[0] &= 0x7F
        guard let number = BN_bin2bn(bytes, 16, nil) else { return false }
        defer { BN_free(number) }
        return BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil
    }

    /// A common name has room for 64 bytes; the names that count are in the extension.
    private static func setNames(_ certificate: OpaquePointer, _ domain: String) -> Bool {
        guard let name = X509_get_subject_name(certificate) else { return false }
        let common = domain.utf8.count <= 64 ? domain : "martlet"
        let isAdded = X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, common, Int32(common.utf8.count), -1, 0)
        return isAdded == 1 && X509_set_issuer_name(certificate, name) == 1
    }

    private static func add(_ kind: Int32, _ value: String, to certificate: OpaquePointer) -> Bool {
        var context = X509V3_CTX()
        martlet_X509V3_set_ctx(&context, certificate, certificate)
        guard let part = X509V3_EXT_conf_nid(nil, &context, kind, value) else { return false }
        defer { X509_EXTENSION_free(part) }
        return X509_add_ext(certificate, part, -1) == 1
    }

    private static func pem(_ write: (OpaquePointer) -> Int32) -> [UInt8]? {
        guard let memory = BIO_new(BIO_s_mem()) else { return nil }
        defer { BIO_free(memory) }
        guard write(memory) == 1 else { return nil }
        var bytes: UnsafeMutablePointer<CChar>?
        let count = martlet_BIO_get_mem_data(memory, &bytes)
        guard let bytes, count > 0 else { return nil }
        return Array(UnsafeRawBufferPointer(start: bytes, count: count))
    }
}
