import Foundation
import ModuleKit
import StorageMemory
import Testing
import XMPPServer
import XMPPStream

@testable import martlet

private let keys = ScramCredential(
    hash: .sha256, iterations: 4096, salt: Array("saltsalt".utf8), storedKey: [UInt8](repeating: 1, count: 32),
    serverKey: [UInt8](repeating: 2, count: 32))

private let oldKeys = ScramCredential(
    hash: .sha1, iterations: 4096, salt: Array("salt".utf8), storedKey: [UInt8](repeating: 3, count: 20),
    serverKey: [UInt8](repeating: 4, count: 20))

@Suite struct `A line of an import` {
    private func read(_ text: String) -> ImportLine {
        ImportLine(Array(text.utf8), hosts: ["localhost", "bücher.example"])
    }

    private func address(_ text: String) throws -> BareJID { try #require(BareJID(text)) }

    @Test(arguments: ["", "   ", "\t", "# romeo@localhost x", "  # x", "\r", "#"]) func `may be empty or a comment`(
        _ text: String
    ) {
        #expect(read(text) == .nothing)
    }

    @Test func `has an address and a password`() throws {
        let romeo = try address("romeo@localhost")
        #expect(read("romeo@localhost secret") == .password(romeo, "secret"))
        #expect(read("romeo@localhost\tsecret\r") == .password(romeo, "secret"))
        #expect(read("  romeo@localhost  secret") == .password(romeo, "secret"))
        #expect(read("romeo@localhost with spaces, # and all ") == .password(romeo, "with spaces, # and all "))
        #expect(read("romeo@localhost pässwörd") == .password(romeo, "pässwörd"))
        #expect(read("romeo@localhost SCRAM-ble") == .password(romeo, "SCRAM-ble"))
    }

    @Test func `names the account in its canonical form`() throws {
        #expect(read("ROMEO@LocalHost x") == .password(try address("romeo@localhost"), "x"))
        #expect(read("a@BÜCHER.example x") == .password(try address("a@bücher.example"), "x"))
    }

    @Test func `may have ready keys`() throws {
        let romeo = try address("romeo@localhost")
        #expect(read("romeo@localhost \(keys.text)") == .keys(romeo, [keys]))
        #expect(read("romeo@localhost \(keys.text) \(oldKeys.text)") == .keys(romeo, [keys, oldKeys]))
    }

    static let wrong: [(String, String)] = [
        ("romeo secret", "\"romeo\" is not an address like user@example.org"),
        ("romeo@ secret", "\"romeo@\" is not an address like user@example.org"),
        ("@localhost secret", "\"@localhost\" is not an address like user@example.org"),
        ("localhost secret", "\"localhost\" is not an address like user@example.org"),
        ("romeo@localhost/x secret", "\"romeo@localhost/x\" is not an address like user@example.org"),
        ("ro meo@localhost secret", "\"ro\" is not an address like user@example.org"),
        ("romeo@example.org secret", "example.org is not a host of this server"),
        ("romeo@localhost", "there is no password behind \"romeo@localhost\""),
        ("romeo@localhost   ", "there is no password behind \"romeo@localhost\""),
        ("romeo@localhost a\u{7}b", "the password is too long or no client can send it"),
        ("romeo@localhost SCRAM-SHA-256$x", "the keys are not of the form SCRAM-SHA-256$iterations:salt$stored:server"),
        (
            "romeo@localhost SCRAM-MD5$1:a$b:c",
            "the keys are not of the form SCRAM-SHA-256$iterations:salt$stored:server"
        ),
        (
            "romeo@localhost \(keys.text) \(keys.text)",
            "the keys are not of the form SCRAM-SHA-256$iterations:salt$stored:server"
        ),
        (
            "romeo@localhost \(keys.text) secret",
            "the keys are not of the form SCRAM-SHA-256$iterations:salt$stored:server"
        ),
        ("romeo@localhost " + String(repeating: "x", count: 1024), "the password is too long or no client can send it"),
        (String(repeating: "x", count: 4097), "the line is longer than 4096 bytes"),
    ]

    @Test(arguments: wrong) func `is refused with a reason that holds no secret`(_ text: String, _ reason: String) {
        #expect(read(text) == .wrong(reason))
    }

    @Test(arguments: [[0xFF], [0xC3], [0x72, 0x40, 0xED, 0xA0, 0x80, 0x20, 0x78]] as [[UInt8]])
    func `must be UTF-8`(_ bytes: [UInt8]) {
        #expect(ImportLine(bytes, hosts: []) == .wrong("the line is not UTF-8"))
    }

    @Test func `of random bytes never traps`() {
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0..<60)).map { _ in
                UInt8.random(in: 0...3) == 0
                    ? UInt8.random(in: 0...255) : Array("ro@localhost SCRAM-256$:#\t ".utf8).randomElement()!
            }
            _ = ImportLine(bytes, hosts: ["localhost"])
        }
    }
}

@Suite struct `Lines of a file` {
    private func lines(_ text: String) throws -> [String] {
        let file = try TemporaryFile(text)
        var source = try LineSource(file.path)
        var lines: [String] = []
        while let line = try source.next() { lines.append(String(decoding: line, as: UTF8.self)) }
        return lines
    }

    @Test func `come one by one`() throws {
        #expect(try lines("") == [])
        #expect(try lines("a") == ["a"])
        #expect(try lines("a\n") == ["a"])
        #expect(try lines("\n\na\n\nb") == ["", "", "a", "", "b"])
    }

    @Test func `may cross the pieces that the file is read in`() throws {
        let long = (0..<5000).map { "\($0) " + String(repeating: "x", count: $0 % 97) }
        #expect(try lines(long.joined(separator: "\n")) == long)
    }

    @Test func `are cut, not kept, when they never end`() throws {
        let read = try lines(String(repeating: "x", count: 1_000_000) + "\nnext")
        #expect(read.map(\.utf8.count) == [ImportLine.longest + 1, 4])
    }
}

@Suite struct `An import` {
    private func run(_ text: String) async throws -> (AccountImport.Counts, [String], OfflineAccounts) {
        let host = HostConfigs.localhost
        let accounts = OfflineAccounts(
            storage: MemoryStorage(), hosts: [host],
            now: { Timestamp(milliseconds: 0) }, lock: nil)
        let file = try TemporaryFile(text)
        var complaints: [String] = []
        let work = AccountImport(
            file: file.path, accounts: accounts,
            auth: ["localhost": AuthConfig(hashes: [.sha256, .sha1], iterations: 4096)],
            complain: { complaints.append($0.replacingOccurrences(of: file.path, with: "FILE")) })
        let counts = try await work.run()
        return (counts, complaints, accounts)
    }

    @Test func `makes an account of each right line and tells of the others`() async throws {
        let (counts, complaints, accounts) = try await run(
            """
            # two lovers
            romeo@localhost one
            juliet@localhost \(keys.text) \(oldKeys.text)
            nobody
            Romeo@localhost two
            """)
        #expect(counts == AccountImport.Counts(created: 2, wrong: 2))
        #expect(
            complaints == [
                "FILE:4: \"nobody\" is not an address like user@example.org",
                "FILE:5: romeo@localhost is the same account as that of line 2",
            ])
        #expect(try await accounts.list(host: nil) == .text("juliet@localhost\nromeo@localhost"))
        #expect(
            counts.description
                == "2 accounts imported, 0 existed already and stay as they are, 2 lines are wrong")
    }

    @Test func `names who has no keys for a hash that the host offers`() async throws {
        let (counts, complaints, _) = try await run("romeo@localhost \(oldKeys.text)\njuliet@localhost one")
        #expect(counts == AccountImport.Counts(created: 2, incomplete: 1))
        #expect(counts.description.hasSuffix("0 lines are wrong, 1 have not all keys that are offered"))
        #expect(
            complaints == [
                "FILE:1: romeo@localhost has no keys for SHA-256, which the host offers (auth.hashes): clients that take "
                    + "the strongest mechanism cannot log in"
            ])
    }

    @Test func `names the first of them, and counts them all`() async throws {
        let text = (0..<1500).map { "u\($0)@localhost \(oldKeys.text)" }.joined(separator: "\n")
        let (counts, complaints, _) = try await run(text)
        #expect(counts == AccountImport.Counts(created: 1500, incomplete: 1500))
        #expect(complaints.count == AccountImport.mostNamed)
    }

    @Test func `stores keys from which the password can be checked`() async throws {
        let (_, _, accounts) = try await run("romeo@localhost one")
        let record = try await accounts.storage.read { snapshot throws(StorageError) in
            try snapshot.account(host: "localhost", local: "romeo")
        }
        let credentials = try #require(record).credentials.compactMap {
            Credential(stored: $0)?.keys
        }
        #expect(credentials.map(\.hash) == [.sha256, .sha1])
        #expect(credentials.allSatisfy { $0.iterations == 4096 })
        let (right, wrong) = (try #require(PreparedPassword("one")), try #require(PreparedPassword("two")))
        #expect(credentials.allSatisfy { $0.matches(right) && !$0.matches(wrong) })
    }

    @Test func `goes in batches and keeps count`() async throws {
        let text = (0..<2500).map { "u\($0)@localhost \(keys.text) \(oldKeys.text)" }.joined(separator: "\n")
        let (counts, complaints, accounts) = try await run(text)
        #expect(counts == AccountImport.Counts(created: 2500))
        #expect(complaints == [])
        guard case .text(let list) = try await accounts.list(host: "localhost") else { return }
        #expect(list.split(separator: "\n").count == 2500)
    }
}

@Suite struct `Accounts without a running server` {
    private func accounts() -> OfflineAccounts {
        OfflineAccounts(
            storage: MemoryStorage(), hosts: [HostConfigs.localhost],
            now: { Timestamp(milliseconds: 0) }, lock: nil)
    }

    @Test func `are added, get passwords, and go`() async throws {
        let accounts = accounts()
        let romeo = try #require(BareJID("romeo@localhost"))
        #expect(try await accounts.add(romeo, password: "one") == .done("romeo@localhost was added"))
        await #expect(throws: CommandError.exists("romeo@localhost exists already")) {
            try await accounts.add(romeo, password: "two")
        }
        #expect(
            try await accounts.setPassword("two", of: romeo) == .done("romeo@localhost has a new password"))
        let record = try await accounts.storage.read { snapshot throws(StorageError) in
            try snapshot.account(host: "localhost", local: "romeo")
        }
        let list = CredentialList(stored: try #require(record).credentials)
        #expect(list.credentials.map(\.generation) == [1, 1, 1])
        let (right, wrong) = (try #require(PreparedPassword("two")), try #require(PreparedPassword("one")))
        #expect(list.credentials.allSatisfy { $0.keys.matches(right) && !$0.keys.matches(wrong) })
        #expect(try await accounts.remove(romeo) == .done("romeo@localhost was removed"))
        #expect(try await accounts.list(host: nil) == .text(""))
        await #expect(throws: CommandError.notFound("romeo@localhost does not exist")) {
            try await accounts.remove(romeo)
        }
    }

    @Test func `are only those of the config's hosts, with passwords that clients can send`() async throws {
        let accounts = accounts()
        let stranger = try #require(BareJID("romeo@example.org"))
        await #expect(throws: CommandError.notFound("example.org is not a host of this server")) {
            try await accounts.add(stranger, password: "one")
        }
        await #expect(throws: CommandError.notFound("\"example.org\" is not a host of this server")) {
            try await accounts.list(host: "example.org")
        }
        let romeo = try #require(BareJID("romeo@localhost"))
        await #expect(throws: PasswordKeys.refusal) { try await accounts.add(romeo, password: "\u{7}") }
    }
}
