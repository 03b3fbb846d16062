import ModuleKit
import StorageSQL
import Testing
import XMPPServer

@testable import martlet

/// `martlet check` counts messages and accounts that a config leaves in the database.
@Suite struct `What a config leaves waiting` {
    private let directory: TemporaryDirectory
    private let data: DataDirectory

    init() throws {
        directory = try TemporaryDirectory()
        data = DataDirectory(path: directory.path + "/data")
        try data.setUp()
    }

    private func storage() throws -> SQLStorage { try SQLStorage.open(SQLOptions(path: data.databasePath)) }

    /// Accounts of a host, each with as many messages.
    private func fill(_ storage: SQLStorage, _ host: String, accounts: Int, messages: Int) async throws {
        let created = Timestamp(milliseconds: 1)
        let outcomes = try await storage.submit(
            (0..<accounts).map { .createAccount(host: host, local: "user\($0)", created: created, credentials: []) })
        for case .owner(let owner) in outcomes {
            let rows = (0..<messages).map { SpoolRow(id: Int64($0 + 1), stamp: created, stanza: [1]) }
            _ = try await storage.submit(rows.map { .spool("messages", owner, $0, limit: 100) })
        }
    }

    private func notes(_ hosts: String, offline: Bool = false) throws -> [String] {
        let modules = "{messages: , presence: , roster: \(offline ? ", offline: " : "")}"
        let text = "hosts: [\(hosts)]\nlisten: [{port: 1, tls: none}]\nmodules: \(modules)\ndata: \(data.path)"
        let config = try ConfigFile.parse(text, file: directory.path + "/martlet.yml").config
        return WaitingCheck(data: data, config: config).notes()
    }

    @Test func `is nothing where nothing is`() throws {
        #expect(try notes("example.org") == [])
    }

    @Test func `is told of hosts that keep no messages, while a server has the database and after it`() async throws {
        let storage = try storage()
        try await fill(storage, "example.org", accounts: 4, messages: 3)
        try await fill(storage, "example.net", accounts: 1, messages: 1)
        try await fill(storage, "example.com", accounts: 3, messages: 0)
        let expected = [
            "example.org keeps no messages any more: 12 wait, and are delivered when their accounts log in",
            "example.net keeps no messages any more: 1 waits, and is delivered when its account logs in",
        ]
        #expect(try notes("example.org, example.net, example.com") == expected)
        #expect(try notes("example.org, example.net, example.com", offline: true) == [])
        await storage.close()
        #expect(try notes("example.org, example.net, example.com") == expected)
    }

    @Test func `is counted over many accounts`() async throws {
        let storage = try storage()
        try await fill(storage, "example.org", accounts: 1_001, messages: 1)
        #expect(try notes("example.org").first?.contains(": 1001 wait,") == true)
        await storage.close()
    }

    @Test func `is told of hosts that the config does not name`() async throws {
        let storage = try storage()
        try await fill(storage, "example.org", accounts: 1, messages: 0)
        try await fill(storage, "example.net", accounts: 3, messages: 1)
        #expect(
            try notes("example.org") == ["example.net has 3 accounts in the database and is not in `hosts`"])
        #expect(
            try notes("example.net", offline: true)
                == ["example.org has 1 account in the database and is not in `hosts`"])
        for number in 0..<30 { try await fill(storage, "h\(number).example", accounts: 1, messages: 0) }
        let notes = try notes("example.org")
        #expect(notes.count == 21)
        #expect(notes.last == "11 more hosts have accounts in the database and are not in `hosts`")
        await storage.close()
    }

    @Test func `is not known of a database that lacks what is asked for`() async throws {
        await (try storage()).close()
        try SQL.execute("DROP TABLE tombstone", data.databasePath)
        let notes = try notes("example.org")
        #expect(notes.count == 1 && notes[0].hasPrefix("nobody knows what waits in the database: "))
    }
}
