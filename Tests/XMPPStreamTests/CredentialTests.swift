import Testing
import XMPPCore

@testable import XMPPStream

@Suite struct CredentialTests {
    @Test(arguments: HashFunction.allCases)
    func `a credential is written and read as one line`(_ hash: HashFunction) {
        let credential = Host.credential(hash)
        #expect(credential.text.hasPrefix("SCRAM-\(hash.rawValue)$64:c2FsdHNhbHRzYWx0c2FsdA==$"))
        #expect(ScramCredential(text: credential.text) == credential)
        #expect(!"\(credential)".contains(Base64.encode(credential.storedKey)))
    }

    @Test func `the keys are those of the password`() throws {
        let credential = Host.credential()
        #expect(credential.matches(try #require(PreparedPassword("wherefore"))))
        #expect(!credential.matches(try #require(PreparedPassword("Wherefore"))))
        let other = ScramCredential(
            deriving: .sha256, from: try #require(PreparedPassword("wherefore")), iterations: 64)
        #expect(other.salt.count == ScramCredential.saltLength)
        #expect(other.salt != credential.salt)
    }

    @Test func `a password is compared with the keys of each device`() throws {
        func keys(_ password: String, _ salt: String) throws -> ScramCredential {
            ScramCredential(
                deriving: .sha256, from: try #require(PreparedPassword(password)), iterations: 64,
                salt: Array(salt.utf8))
        }
        let credentials = [try keys("one", "salt"), try keys("two", "salt"), try keys("three", "other")]
        func matches(_ password: String, _ credentials: [ScramCredential]) throws -> Bool {
            PasswordCheck(password: try #require(PreparedPassword(password)), credentials: credentials).matches()
        }
        for password in ["one", "two", "three"] { #expect(try matches(password, credentials)) }
        #expect(try !matches("four", credentials))
        #expect(try !matches("one", []))
        // Many salts would be many derivations: the later ones are not tried.
        let many = try (0..<6).map { try keys("\($0)", "salt \($0)") }
        #expect(try matches("3", many))
        #expect(try !matches("4", many))
    }

    @Test func `no password and no key is printed`() throws {
        let password = try #require(PreparedPassword("wherefore"))
        #expect("\(password)" == "password")
        #expect("\([password])" == "[password]")
        #expect("\(Host.credential())" == "SCRAM-SHA-256")
    }

    static let stored = Base64.encode([UInt8](repeating: 7, count: 32))

    @Test(arguments: [
        "", "SCRAM-SHA-256", "SCRAM-SHA-256$64:c2FsdA==", "SCRAM-SHA-512$64:c2FsdA==$\(stored):\(stored)",
        "SCRAM-SHA-1$64:c2FsdA==$\(stored):\(stored)", "SCRAM-SHA-256$0:c2FsdA==$\(stored):\(stored)",
        "SCRAM-SHA-256$-1:c2FsdA==$\(stored):\(stored)", "SCRAM-SHA-256$99999999999:c2FsdA==$\(stored):\(stored)",
        "SCRAM-SHA-256$10000001:c2FsdA==$\(stored):\(stored)", "SCRAM-SHA-256$64:$\(stored):\(stored)",
        "SCRAM-SHA-256$64:c2FsdA$\(stored):\(stored)", "SCRAM-SHA-256$64:c2FsdA==$\(stored)",
        "SCRAM-SHA-256$64:c2FsdA==$\(stored):\(stored):\(stored)", "SCRAM-SHA-256$64:c2FsdA==$\(stored):\(stored)$",
        "SCRAM-SHA-256$64:c2FsdA==$AAAA:\(stored)", "SCRAM-SHA-256-PLUS$64:c2FsdA==$\(stored):\(stored)",
        "scram-sha-256$64:c2FsdA==$\(stored):\(stored)", " SCRAM-SHA-256$64:c2FsdA==$\(stored):\(stored)",
    ])
    func `a line that is not a credential is refused`(_ text: String) {
        #expect(ScramCredential(text: text) == nil)
    }

    @Test func `an unknown user has the same salt every time, another user another one`() throws {
        let romeo = try #require(BareJID("romeo@example.net"))
        let juliet = try #require(BareJID("juliet@example.net"))
        func fake(_ hash: HashFunction, _ account: BareJID, _ secret: [UInt8] = Host.secret) -> ScramCredential {
            .fake(hash, account: account, iterations: 10_000, secret: secret)
        }
        let one = fake(.sha256, romeo)
        #expect(one == fake(.sha256, try #require(BareJID("ROMEO@example.net"))))
        #expect(one.salt.count == ScramCredential.saltLength)
        #expect(one.storedKey.count == 32)
        #expect(fake(.sha1, romeo).storedKey.count == 20)
        #expect(fake(.sha512, romeo).storedKey.count == 64)
        #expect(one.salt != fake(.sha256, juliet).salt)
        #expect(one.salt != fake(.sha1, romeo).salt)
        #expect(one.salt != fake(.sha256, romeo, [1]).salt)
        #expect(one.salt != fake(.sha256, try #require(BareJID("romeo@example.org"))).salt)
    }

    /// RFC 4013 §3, and more.
    @Test(arguments: [
        ("I\u{AD}X", "IX"), ("user", "user"), ("USER", "USER"), ("\u{AA}", "a"), ("\u{2168}", "IX"),
        ("a b", "a b"), ("a\u{A0}b", "a b"), ("a\u{3000}b", "a b"), ("e\u{301}", "\u{E9}"), ("\u{FF41}", "a"),
        ("\u{627}1\u{628}", "\u{627}1\u{628}"), ("p\u{E4}ssw\u{F6}rd\u{1F600}", "p\u{E4}ssw\u{F6}rd\u{1F600}"),
    ])
    func `a password is prepared as RFC 4013 says`(_ password: String, _ prepared: String) {
        #expect(PreparedPassword(password)?.bytes == Array(prepared.utf8))
    }

    @Test(arguments: [
        "", "\u{7}", "a\u{7F}", "a\nb", "\0", "\u{627}1", "\u{627}a\u{628}", "\u{E000}", "\u{200E}", "\u{FFFD}",
        "\u{AD}", "\u{340}\u{202E}", "\u{E0001}", "\u{10FFFF}", "\u{1D173}", String(repeating: "a", count: 1024),
        String(repeating: "\u{E9}", count: 600),
    ])
    func `BAD-INPUTS 11: a password that RFC 4013 forbids is none`(_ password: String) {
        #expect(PreparedPassword(password) == nil)
    }
}
