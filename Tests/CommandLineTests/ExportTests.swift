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

/// The largest keys that are taken.
private let largeKeys = HashFunction.allCases.map { hash in
    let key = [UInt8](repeating: 0xFF, count: hash.length)
    return ScramCredential(
        hash: hash, iterations: ScramCredential.iterationRange.upperBound, salt: [UInt8](repeating: 0xFE, count: 256),
        storedKey: key, serverKey: key)
}

/// An import reads every line that an export writes, for every account that there can be.
@Suite struct `An export` {
    private let hosts: Set = ["localhost"]

    private static let awkward = [
        "#", "#alice", "\\#alice", "##", "a;b", "a,b", "a=b", "{}", "scram-$", "scram-sha-1$1",
    ]

    /// Names that RFC 7622 §3.3 allows, with a liking for what a line of text may stumble over.
    private func names(_ count: Int) -> Set<String> {
        let ascii = (0x21...0x7E).map { UInt8($0) }.map { String(UnicodeScalar($0)) }
        let others = [
            "\u{301}", "\u{200D}", "\u{200C}", "ü", "ß", "ς", "ı", "م", "٣", "א", "ж", "语", "ー", "ﾊ", "\u{FEFF}",
            "\u{2028}",
            "\u{85}", "\u{A0}", "\t", " ", "😀", "𝔸", "\\#", "#", "\"", "\\", "=", ",", ";", "SCRAM-", "$",
        ]
        var names = Set(Self.awkward.compactMap { JID.prepared(local: $0) })
        for character in ascii + others {
            for name in [character, "\(character)a", "a\(character)", "#\(character)", "\(character)#\(character)"] {
                if let name = JID.prepared(local: name) { names.insert(name) }
            }
        }
        for _ in 0..<count {
            let name = (0..<Int.random(in: 1...12)).map { _ in
                Bool.random()
                    ? (ascii + others).randomElement() ?? "a"
                    : UnicodeScalar(UInt32.random(in: 0x80...0x3FFF)).map(String.init) ?? "b"
            }.joined()
            if let name = JID.prepared(local: name) { names.insert(name) }
        }
        for letter in ["a", "ü", "語", "#"] {
            let name = "#" + String(repeating: letter, count: 1022 / letter.utf8.count)
            let longest = name + String(repeating: "z", count: 1023 - name.utf8.count)
            if let name = JID.prepared(local: longest), name.utf8.count == 1023 { names.insert(name) }
        }
        return names
    }

    @Test func `of any name is a line that is read as it was written`() throws {
        let names = names(20_000)
        #expect(names.count > 1000)
        #expect(names.filter { $0.utf8.count == 1023 }.count == 4)
        for local in Self.awkward {
            let isThere = names.contains(local)
            #expect(isThere, "\(local)")
        }
        for local in names {
            let address = BareJID(canonicalLocal: local, domain: "localhost")
            let line = ImportLine.text(address.description, [keys])
            #expect(!line.utf8.contains(UInt8(ascii: "\n")))
            #expect(ImportLine(line.utf8, hosts: hosts) == .keys(address, [keys]), "\(local)")
        }
    }

    @Test func `of the longest address and the largest keys is no line too long`() throws {
        let domain = (1...16).map { _ in String(repeating: "d", count: 63) }.joined(separator: ".").prefix(253)
        let address = BareJID(canonicalLocal: "#" + String(repeating: "a", count: 1022), domain: String(domain))
        let line = ImportLine.text(address.description, largeKeys)
        #expect(ImportLine(line.utf8, hosts: [String(domain)]) == .keys(address, largeKeys))
    }

    @Test func `is imported whole`() async throws {
        let (from, to) = (accounts(), accounts())
        let names = names(500)
        let made = names.map {
            NewAccount(address: BareJID(canonicalLocal: $0, domain: "localhost"), credentials: [keys])
        }
        #expect(try await from.create(made).allSatisfy { $0 == .created })
        let (counts, complaints) = try await copy(from, to)
        #expect(counts.created == names.count)
        #expect(counts.wrong == 0)
        #expect(complaints.allSatisfy { $0.contains("has no keys for") })
        #expect(try await to.list(host: nil) == from.list(host: nil))
        #expect(try await to.export(host: nil) == from.export(host: nil))
    }

    @Test func `names an account that has nothing to take along`() async throws {
        let (from, to) = (accounts(), accounts())
        let devices = Credential(device: "phone", keys: keys).stored
        _ = try await from.storage.submit([
            .createAccount(host: "localhost", local: "#a", created: Timestamp(milliseconds: 0), credentials: [devices])
        ])
        #expect(
            try await from.export(host: nil)
                == .text("# #a@localhost has no password that another server could take over"))
        #expect(try await copy(from, to).0 == AccountImport.Counts())
    }

    private func accounts() -> OfflineAccounts {
        OfflineAccounts(
            storage: MemoryStorage(), hosts: [HostConfigs.localhost], now: { Timestamp(milliseconds: 0) }, lock: nil)
    }

    private func copy(_ from: OfflineAccounts, _ to: OfflineAccounts) async throws -> (AccountImport.Counts, [String]) {
        guard case .text(let text) = try await from.export(host: nil) else { return (AccountImport.Counts(), []) }
        let file = try TemporaryFile(text + "\n")
        var complaints: [String] = []
        let work = AccountImport(
            file: file.path, accounts: to, auth: ["localhost": AuthConfig()], complain: { complaints.append($0) })
        let counts = try await work.run()
        return (counts, complaints)
    }

    // MARK: Old exports, and comments

    @Test(arguments: ["#alice@localhost \(keys.text)", "#alice@localhost secret", "#alice@example.com \(keys.text)"])
    func `from before there were quotes is read, and what may be a comment is told`(_ line: String) {
        let old = "alice@localhost \(keys.text)"
        #expect(
            ImportLine(old.utf8, hosts: hosts) == .keys(BareJID(canonicalLocal: "alice", domain: "localhost"), [keys]))
        guard case .wrong(let reason) = ImportLine(line.utf8, hosts: hosts) else {
            Issue.record("\(line) was passed over")
            return
        }
        #expect(reason.hasPrefix("it may be a comment or the account #alice@"))
        #expect(!reason.contains("secret") && !reason.contains("SCRAM"))
    }

    @Test(arguments: [
        "#", "# ", "# alice@localhost x", "#alice", "#alice@localhost", "#see alice@localhost", "#a@b.c d",
    ])
    func `may have comments`(_ line: String) {
        #expect(ImportLine(line.utf8, hosts: hosts) == .nothing)
    }

    @Test func `may have quotes around any address, and nowhere else`() throws {
        let alice = BareJID(canonicalLocal: "alice", domain: "localhost")
        #expect(ImportLine("\"Alice@localhost\" a b".utf8, hosts: hosts) == .password(alice, "a b"))
        #expect(ImportLine("alice@localhost \"a b\"".utf8, hosts: hosts) == .password(alice, "\"a b\""))
        for line in ["\" x", "\"\" x", "\"alice@localhost x", "alice@localhost\" x", "\"\"alice@localhost\"\" x"] {
            guard case .wrong = ImportLine(line.utf8, hosts: hosts) else {
                Issue.record("\(line) was read")
                continue
            }
        }
    }

    // MARK: Passwords that are names

    @Test func `of another server may have names as passwords: they are taken and counted`() async throws {
        let accounts = accounts()
        let file = try TemporaryFile("romeo@localhost ROMEO\njuliet@localhost juliet@localhost\nbill@localhost other\n")
        var complaints: [String] = []
        let work = AccountImport(
            file: file.path, accounts: accounts, auth: ["localhost": AuthConfig(hashes: [.sha1], iterations: 1)],
            complain: { complaints.append($0) })
        let counts = try await work.run()
        #expect(counts == AccountImport.Counts(created: 3, guessable: 2))
        #expect(counts.description.hasSuffix(", 2 have their own name as the password"))
        #expect(complaints.count == 2)
        #expect(complaints.allSatisfy { $0.contains("has its own name as the password") })
    }
}
