import COpenSSL
import Glibc
import Testing

@testable import XMPPTransport

/// What a client's certificate is worth (RFC 6120 §13.7, XEP-0178 §2).
@Suite struct ClientAuthoritiesTests {
    /// A certificate with its key, signed by another one or by itself.
    final class Certificate {
        let certificate: OpaquePointer
        let key: OpaquePointer

        struct Wishes {
            var names: String?
            var usage: String? = "clientAuth"
            var isAuthority = false
            var from = -3600
            var until = 86_400
            var digest = EVP_sha256()
        }

        init(_ name: String, by issuer: Certificate? = nil, _ wish: (inout Wishes) -> Void = { _ in }) throws {
            var wishes = Wishes()
            wish(&wishes)
            key = try #require(martlet_EVP_EC_gen("P-256"))
            certificate = try #require(X509_new())
            X509_set_version(certificate, 2)
            ASN1_INTEGER_set(X509_get_serialNumber(certificate), Int.random(in: 1...Int(Int32.max)))
            X509_gmtime_adj(X509_getm_notBefore(certificate), wishes.from)
            X509_gmtime_adj(X509_getm_notAfter(certificate), wishes.until)
            X509_set_pubkey(certificate, key)
            X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, name, -1, -1, 0)
            X509_set_issuer_name(certificate, X509_get_subject_name(issuer?.certificate ?? certificate))
            add(NID_basic_constraints, wishes.isAuthority ? "critical,CA:TRUE" : "critical,CA:FALSE")
            if let usage = wishes.usage, !wishes.isAuthority { add(NID_ext_key_usage, usage) }
            if let names = wishes.names { add(NID_subject_alt_name, names) }
            #expect(X509_sign(certificate, issuer?.key ?? key, wishes.digest) > 0)
        }

        private func add(_ kind: CInt, _ value: String) {
            var context = X509V3_CTX()
            martlet_X509V3_set_ctx(&context, certificate, certificate)
            guard let part = X509V3_EXT_conf_nid(nil, &context, kind, value) else {
                Issue.record("\(value) is no extension")
                return
            }
            X509_add_ext(certificate, part, -1)
            X509_EXTENSION_free(part)
        }

        deinit {
            X509_free(certificate)
            EVP_PKEY_free(key)
        }
    }

    private static func authority(_ name: String = "Authority") throws -> Certificate {
        try Certificate(name) { $0.isAuthority = true }
    }

    /// What a host that believes `authority` reads in `client`.
    private static func addresses(
        _ client: Certificate, believing authority: Certificate, chain: [Certificate] = []
    ) throws -> [String] {
        var path = Array("/tmp/martlet-authority-XXXXXX".utf8CString)
        let descriptor = mkstemp(&path)
        let file = try #require(fdopen(descriptor, "w"))
        PEM_write_X509(file, authority.certificate)
        fclose(file)
        defer { unlink(path) }
        let authorities = try #require(
            ClientAuthorities(file: path.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }))
        let stack = OPENSSL_sk_new_null()
        defer { OPENSSL_sk_free(stack) }
        for link in chain { OPENSSL_sk_push(stack, UnsafeRawPointer(link.certificate)) }
        return authorities.addresses(in: client.certificate, chain: stack)
    }

    private static func address(_ text: String) -> String { "otherName:1.3.6.1.5.5.7.8.5;UTF8:\(text)" }
    private static let romeo = address("romeo@example.net")

    @Test func `the addresses are those of the subjectAltName, as they stand there`() throws {
        let authority = try Self.authority()
        let client = try Certificate("CN=mercutio@example.net", by: authority) {
            $0.names = [
                "DNS:example.net", Self.romeo, "email:tybalt@example.net", Self.address("Juliet@EXAMPLE.net/x"),
                "URI:xmpp:paris@example.net", "otherName:1.3.6.1.5.5.7.8.7;UTF8:benvolio@example.net",
                "otherName:1.3.6.1.5.5.7.8.5;IA5STRING:rosaline@example.net",
            ].joined(separator: ",")
        }
        #expect(
            try Self.addresses(client, believing: authority) == ["romeo@example.net", "Juliet@EXAMPLE.net/x"])
    }

    @Test func `BAD-INPUTS 9: what is expired, to come, for another purpose or of a stranger proves nothing`() throws {
        let authority = try Self.authority()
        let stranger = try Self.authority()
        func client(_ issuer: Certificate?, _ wish: (inout Certificate.Wishes) -> Void = { _ in }) throws -> [String] {
            let client = try Certificate("client", by: issuer) {
                $0.names = Self.romeo
                wish(&$0)
            }
            return try Self.addresses(client, believing: authority)
        }
        #expect(try client(authority) == ["romeo@example.net"])
        #expect(try client(authority) { $0.usage = nil } == ["romeo@example.net"])
        #expect(try client(authority) { $0.usage = "serverAuth,clientAuth" } == ["romeo@example.net"])
        #expect(try client(authority) { $0.usage = "serverAuth" } == [])
        #expect(try client(authority) { $0.usage = "emailProtection,codeSigning" } == [])
        #expect(try client(authority) { ($0.from, $0.until) = (-7200, -60) } == [])
        #expect(try client(authority) { ($0.from, $0.until) = (60, 7200) } == [])
        #expect(try client(authority) { $0.digest = EVP_sha1() } == [])
        #expect(try client(authority) { $0.names = nil } == [])
        #expect(try client(stranger) == [])
        #expect(try client(nil) == [])
    }

    @Test func `BAD-INPUTS 9: a chain leads to an authority, and not too far`() throws {
        let authority = try Self.authority()
        func chain(_ count: Int) throws -> [Certificate] {
            var chain = [authority]
            for number in 0..<count {
                chain.append(try Certificate("Intermediate \(number)", by: chain[number]) { $0.isAuthority = true })
            }
            return Array(chain.dropFirst())
        }
        for count in [1, 3, 4, 5, 6, 20] {
            let chain = try chain(count)
            let client = try Certificate("client", by: chain[count - 1]) { $0.names = Self.romeo }
            let found = try Self.addresses(client, believing: authority, chain: chain)
            #expect(found.isEmpty == (count > 4), "\(count)")
            #expect(try Self.addresses(client, believing: authority) == [])
            // An authority is one that stands in the file, not one that is itself signed by nobody.
            #expect(try Self.addresses(client, believing: chain[count - 1]) == ["romeo@example.net"])
        }
        // Who is no authority signs nothing.
        let leaf = try Certificate("leaf", by: authority) { $0.names = Self.romeo }
        let client = try Certificate("client", by: leaf) { $0.names = Self.address("juliet@example.net") }
        #expect(try Self.addresses(client, believing: authority, chain: [leaf]) == [])
    }

    @Test func `BAD-INPUTS 9: a certificate with very many names is for nobody`() throws {
        let authority = try Self.authority()
        for (count, isBelieved) in [(63, true), (64, false), (10_000, false)] {
            let client = try Certificate("client", by: authority) {
                $0.names = ([Self.romeo] + (0..<count).map { "DNS:n\($0).example" }).joined(separator: ",")
            }
            #expect(try Self.addresses(client, believing: authority).isEmpty == !isBelieved, "\(count)")
        }
    }

    @Test func `a file without a certificate is no file of authorities`() {
        #expect(ClientAuthorities(file: "/dev/null") == nil)
        #expect(ClientAuthorities(file: "/nonexistent") == nil)
    }
}
