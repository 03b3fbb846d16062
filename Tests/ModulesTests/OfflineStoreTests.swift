import ModuleKit
import ModuleTesting
import Offline
import StorageMemory
import Testing
import XMPPServer

/// The store of messages that wait: what was taken comes out of it, and a row that cannot be read is in nobody's way.
@Suite struct OfflineStoreTests {
    private static func attributes(_ count: Int) -> String {
        (0..<count).map { "a\($0)='x'" }.joined(separator: " ")
    }

    /// Stanzas within the limits whose stored form is over them.
    private static let swelling = [
        "<message to='juliet@example.org'><body>\(String(repeating: ">", count: 80_000))</body></message>",
        """
        <message to='juliet@example.org'><body><![CDATA[\(String(repeating: "<p>&nbsp;</p>", count: 15_000))]]></body>\
        </message>
        """,
        """
        <message to='juliet@example.org'><body>q</body><x xmlns='urn:x' a="\(String(repeating: "'", count: 6000))"/>\
        </message>
        """,
        "<message to='juliet@example.org' \(attributes(63))><body>a</body></message>",
    ]

    @Test(arguments: swelling)
    func `a message that grows when it is stored is delivered all the same`(_ stanza: String) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.sendRaw(stanza)
        server.settle()
        #expect(romeo.errors.isEmpty)
        let juliet = try server.login("juliet@example.org/balcony")
        let message = try #require(juliet.inbox.first { $0.name == "message" })
        let sent = try XMLTree(parsing: "<s xmlns='jabber:client'>\(stanza)</s>").root.element.elements[0]
        #expect(message.first("body", .client)?.text == sent.first("body", .client)?.text)
        #expect(message.first("x", "urn:x") == sent.first("x", "urn:x"))
        #expect(message[attribute: "a62"] == sent[attribute: "a62"])
        await server.stop()
    }

    @Test func `what a larger limit lets in is delivered`() async throws {
        let server = try await TestServer(standardModules) { $0.limits.authenticated.elements.bytes = 1 << 20 }
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", String(repeating: "text ", count: 60_000)))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies().map(\.utf8.count) == [300_000])
        await server.stop()
    }

    // MARK: Rows that cannot be read

    private func owner(_ server: TestServer, _ local: String = "juliet") async throws -> OwnerID {
        let memory = server.memory
        let found = await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: local)?.owner
            }
        }
        return try #require(found ?? nil)
    }

    private func spoil(_ server: TestServer, _ rows: Int, stamp: Int64 = 1_780_000_000_000) async throws {
        let owner = try await owner(server)
        let batch = (1...Int64(rows)).map { id in
            Mutation.spool(
                "messages", owner,
                SpoolRow(id: id, stamp: Timestamp(milliseconds: stamp), stanza: Array("<mess".utf8)), limit: .max)
        }
        server.storage.submit(batch) { _ in }
        server.settle()
    }

    private func spooled(_ server: TestServer, _ store: StoreName) async throws -> Int {
        let (owner, memory) = (try await owner(server), server.memory)
        let count = await server.pump {
            try? await memory.read([owner]) { snapshot throws(StorageError) in
                try snapshot.spoolCount(store, owner)
            }
        }
        return try #require(count ?? nil)
    }

    @Test func `rows that cannot be read are set aside once, and what is behind them comes`() async throws {
        let server = try await TestServer(standardModules)
        try await spoil(server, 200)
        let first = try server.login("juliet@example.org/balcony")
        #expect(first.takeBodies().isEmpty)
        first.end()
        server.settle()
        #expect(try await spooled(server, "messages") == 0)
        #expect(try await spooled(server, "unreadable") == 200)
        #expect(await server.status("messages_unreadable") == 200)
        // The store has room again.
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "Hi"))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["Hi"])
        #expect(await server.status("messages_unreadable") == 200)
        await server.stop()
    }

    @Test func `a client that looks at its messages sets aside what cannot be read`() async throws {
        let server = try await TestServer(standardModules)
        try await spoil(server, 3)
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        let node = "http://jabber.org/protocol/offline"
        try juliet.ask(
            server, "get", "<query xmlns='http://jabber.org/protocol/disco#items' node='\(node)'/>",
            to: "juliet@example.org")
        server.settle()
        #expect(try await spooled(server, "messages") == 0)
        #expect(try await spooled(server, "unreadable") == 3)
        await server.stop()
    }

    @Test func `a row that could not be set aside is tried again`() async throws {
        let server = try await TestServer(standardModules)
        try await spoil(server, 1)
        server.storage.set(.failing)
        let first = try server.login("juliet@example.org/balcony")
        first.end()
        server.settle()
        server.storage.set(.none)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "Hi"))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["Hi"])
        #expect(try await spooled(server, "unreadable") == 1)
        await server.stop()
    }

    @Test func `a store full of what nobody will ever get takes a new message`() async throws {
        let server = try await TestServer(
            standardModules, config: ["offline": options(["expiry": "1h", "limit": "4"])])
        let romeo = try server.login("romeo@example.org/orchard")
        try await spoil(server, 2)
        for body in ["old", "older"] { romeo.send(message(to: "juliet@example.org", body)) }
        server.settle()
        server.advance(by: .seconds(7200))
        for number in 1...4 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        try romeo.expectNo()
        // What can be delivered counts: the next one is too much.
        romeo.send(message(to: "juliet@example.org", "5"))
        server.settle()
        #expect(romeo.inbox.count { $0[attribute: "type"] == "error" } == 1)
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["1", "2", "3", "4"])
        await server.stop()
    }

    // MARK: Clocks that are wrong

    private func keep(_ server: TestServer, _ body: String, id: Int64, stamp: Int64) async throws {
        let owner = try await owner(server)
        let stanza = "<message xmlns='jabber:client' type='chat'><body>\(body)</body></message>"
        let row = SpoolRow(id: id, stamp: Timestamp(milliseconds: stamp), stanza: Array(stanza.utf8))
        server.storage.submit([.spool("messages", owner, row, limit: .max)]) { _ in }
        server.settle()
    }

    @Test func `messages stamped by a clock that was wrong are delivered, without that stamp`() async throws {
        let server = try await TestServer(standardModules, config: ["offline": options(["expiry": "1h"])])
        let stamps: [Int64] = [.min, -1, 0, 86_400_000, 253_402_300_799_999, .max]
        for (index, stamp) in stamps.enumerated() {
            try await keep(server, "\(stamp)", id: Int64(index + 1), stamp: stamp)
        }
        let juliet = try server.login("juliet@example.org/balcony")
        let messages = juliet.inbox.filter { $0.name == "message" }
        #expect(messages.compactMap { $0.first("body", .client)?.text } == stamps.map(String.init))
        #expect(messages.allSatisfy { $0.first("delay", .delay) == nil })
        await server.stop()
    }

    @Test func `messages go on being kept behind a row from the end of time`() async throws {
        let server = try await TestServer(standardModules)
        try await keep(server, "last", id: 1 << 62, stamp: 1_780_000_000_000)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "next"))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["last", "next"])
        await server.stop()
    }

    @Test func `where no id is left the sender is told, and nothing traps`() async throws {
        let server = try await TestServer(standardModules)
        try await keep(server, "last", id: .max, stamp: 1_780_000_000_000)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "next"))
        server.settle()
        try romeo.expect(
            """
            <message type='error' from='juliet@example.org'><error type='wait'><resource-constraint
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
            """)
        await server.stop()
    }
}
