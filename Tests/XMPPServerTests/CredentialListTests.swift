import Testing
import XMPPServer
import XMPPStream

/// What stands in an account's row.
@Suite struct CredentialListTests {
    private static func keys(_ hash: HashFunction, _ byte: UInt8 = 1) -> ScramCredential {
        ScramCredential(
            hash: hash, iterations: 4096, salt: Array("salt".utf8),
            storedKey: [UInt8](repeating: byte, count: hash.length),
            serverKey: [UInt8](repeating: byte, count: hash.length))
    }

    @Test(arguments: ["", "telephone", "of the \u{1F4F1}, 'mine'", String(repeating: "x", count: 256)])
    func `a credential is read as it was written`(_ device: String) {
        let credential = Credential(device: device, generation: .max, keys: Self.keys(.sha512))
        #expect(Credential(stored: credential.stored) == credential)
    }

    @Test func `keys from before there were generations are the account's own, of the first`() {
        let keys = Self.keys(.sha256)
        #expect(Credential(stored: Array(keys.text.utf8)) == Credential(keys: keys))
        let list = CredentialList(stored: [Array(keys.text.utf8)]).replaced(by: [Self.keys(.sha256, 2)])
        #expect(list.credentials == [Credential(generation: 1, keys: Self.keys(.sha256, 2))])
    }

    @Test func `what is damaged or from a later version is no credential`() {
        let text = Self.keys(.sha256).text
        let long = Base64.encode([UInt8](repeating: 0x61, count: 257))
        for stored in [
            "", "1", "1 0 =", "2 0 = \(text)", "1 -1 = \(text)", "1 4294967296 = \(text)", "1 0  \(text)",
            "1 0 a \(text)", "1 0 /w== \(text)", "1 0 \(long) \(text)", "1 0 = \(text) ", " 1 0 = \(text)",
            "1 0 = SCRAM-SHA-256$1",
        ] {
            #expect(Credential(stored: Array(stored.utf8)) == nil, "\(stored)")
        }
        #expect(Credential(stored: [0xFF, 0xFE]) == nil)
        let list = CredentialList(stored: [[0xFF], Array(text.utf8), []])
        #expect(list.credentials.count == 1)
    }

    @Test func `a lookup finds the keys of the first hash that there are any of, the own ones first`() {
        let list = CredentialList([
            Credential(device: "telephone", generation: 3, keys: Self.keys(.sha256, 2)),
            Credential(generation: 2, keys: Self.keys(.sha256)), Credential(generation: 2, keys: Self.keys(.sha1)),
        ])
        #expect(list.keys([.sha512, .sha256, .sha1]) == [Self.keys(.sha256), Self.keys(.sha256, 2)])
        #expect(list.keys([.sha1]) == [Self.keys(.sha1)])
        #expect(list.keys([.sha512]) == [])
        #expect(list.missing([.sha512, .sha256]) == [.sha512])
        #expect(CredentialList().missing([.sha512]) == [])
    }

    @Test func `another password is of the next generation and leaves none of the old ones`() {
        let list = CredentialList([
            Credential(device: "telephone", generation: 6, keys: Self.keys(.sha256, 2)),
            Credential(generation: 5, keys: Self.keys(.sha256)),
        ]).replaced(by: [Self.keys(.sha512, 3), Self.keys(.sha1, 3)])
        #expect(list.credentials.map(\.generation) == [7, 7])
        #expect(list.credentials.allSatisfy { $0.device.isEmpty })
        #expect(list.credentials.map(\.keys) == [Self.keys(.sha512, 3), Self.keys(.sha1, 3)])
        #expect(CredentialList().replaced(by: [Self.keys(.sha1)]).generation == 0)
    }

    @Test func `further keys of a password are of its generation`() {
        let list = CredentialList([Credential(generation: 5, keys: Self.keys(.sha256))]).adding([Self.keys(.sha512)])
        #expect(list.credentials.map(\.generation) == [5, 5])
        #expect(CredentialList(stored: list.stored) == list)
    }

    @Test func `of an account with very many credentials not all are looked at`() {
        let many = [[UInt8]](repeating: Credential(keys: Self.keys(.sha1)).stored, count: 1000)
        #expect(CredentialList(stored: many).credentials.count == Credential.most)
    }
}
