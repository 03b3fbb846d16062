import COpenSSL
import Glibc
import XMPPTransport

/// Self-signed certificates in a folder of their own, which goes with the object.
final class TestCertificates: Sendable {
    let folder: String

    init() {
        var template = Array("/tmp/martlet-tls-XXXXXX".utf8CString)
        folder = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit {
        for name in ["localhost", "one", "two", "other"] {
            unlink("\(folder)/\(name).pem")
            unlink("\(folder)/\(name).key")
        }
        rmdir(folder)
    }

    func make(_ name: String, hosts: [String]) -> TLSContext.Certificate {
        let key = martlet_EVP_EC_gen("P-256")
        defer { EVP_PKEY_free(key) }
        let certificate = X509_new()
        defer { X509_free(certificate) }
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), Int(getpid()) &+ name.utf8.count)
        X509_gmtime_adj(X509_getm_notBefore(certificate), -3600)
        X509_gmtime_adj(X509_getm_notAfter(certificate), 86_400)
        X509_set_version(certificate, 2)
        X509_set_pubkey(certificate, key)
        let subject = X509_get_subject_name(certificate)
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, name, -1, -1, 0)
        X509_set_issuer_name(certificate, subject)
        X509_sign(certificate, key, EVP_sha256())
        let result = TLSContext.Certificate(
            hosts: hosts, chainFile: "\(folder)/\(name).pem", keyFile: "\(folder)/\(name).key")
        let chain = fopen(result.chainFile, "w")
        PEM_write_X509(chain, certificate)
        fclose(chain)
        let keyFile = fopen(result.keyFile, "w")
        PEM_write_PrivateKey(keyFile, key, nil, nil, 0, nil, nil)
        fclose(keyFile)
        return result
    }

    func context() throws -> TLSContext {
        try TLSContext([make("localhost", hosts: ["localhost"])])
    }
}
