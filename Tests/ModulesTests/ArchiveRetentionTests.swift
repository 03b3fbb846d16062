import ModuleKit
import ModuleTesting
import Testing

/// How long and whose messages are kept.
@Suite struct ArchiveRetentionTests {
    @Test func `old messages go, oldest first, and an id that is gone is not found (BUGS-NEXT A15)`() async throws {
        let server = try await TestServer(archivingModules, config: ["mam": options(["expiry": "1d"])])
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        for number in 0..<5 {
            romeo.send(message(to: "juliet@example.org", "\(number)"))
            server.settle()
            server.advance(by: .hours(10))
        }
        let before = juliet.archive(server)
        #expect(before.bodies == ["3", "4"])
        server.advance(by: .hours(7))
        #expect(juliet.archive(server).bodies == ["4"])
        #expect(romeo.archive(server).bodies == ["4"])
        #expect(juliet.archive(server, set: "<after>\(before.ids[0])</after>").condition == "item-not-found")
        #expect(juliet.archive(server, set: "<before/>").ids == [before.ids[1]])
        await server.stop()
    }

    @Test func `more messages than may be kept go, many rows in small steps`() async throws {
        let server = try await TestServer(
            archivingModules,
            config: ["mam": options(["rows": "100", "page": "500"]), "offline": options(["limit": "1000"])])
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 0..<700 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        #expect(romeo.archive(server, set: "<max>0</max>").count == "700")
        server.advance(by: .hours(2))
        #expect(romeo.archive(server).bodies == (600..<700).map(String.init))
        let juliet = try server.login("juliet@example.org/balcony")
        // What waits for delivery waits on.
        #expect(juliet.takeBodies().count == 700)
        #expect(juliet.archive(server).bodies == (600..<700).map(String.init))
        await server.stop()
    }

    @Test func `preferences say whose messages are kept, after a restart too (XEP-0441)`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        let unchanged = try juliet.ask(server, "get", "<prefs xmlns='urn:xmpp:mam:2'/>")
        #expect(unchanged?[attribute: "default"] == "always")
        #expect(unchanged?.elements.map(\.name) == ["always", "never"])
        let set = """
            <prefs xmlns='urn:xmpp:mam:2' default='never'><always><jid>romeo@example.org/orchard</jid></always>
            <never/></prefs>
            """
        let changed = try juliet.ask(server, "set", set)
        #expect(changed?[attribute: "default"] == "never")
        #expect(changed?.first("always", .archive)?.elements.map(\.text) == ["romeo@example.org/orchard"])
        let tomb = try server.login("romeo@example.org/tomb")
        romeo.send(message(to: "juliet@example.org", "kept"))
        tomb.send(message(to: "juliet@example.org", "not kept"))
        server.settle()
        #expect(juliet.archive(server).bodies == ["kept"])
        // The other side has its own.
        #expect(Set(romeo.archive(server).bodies) == ["kept", "not kept"])
        let storage = await server.stop()
        let again = try await TestServer(archivingModules, memory: storage)
        let later = try again.login("juliet@example.org/balcony")
        #expect(try later.ask(again, "get", "<prefs xmlns='urn:xmpp:mam:2'/>")?[attribute: "default"] == "never")
        await again.stop()
    }

    @Test func `roster: only messages of contacts are kept`() async throws {
        let server = try await TestServer(archivingModules, config: ["mam": options(["default": "roster"])])
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send(message(to: "juliet@example.org", "stranger"))
        server.settle()
        server.befriend(romeo, juliet)
        romeo.send(message(to: "juliet@example.org", "contact"))
        server.settle()
        #expect(juliet.archive(server).bodies == ["contact"])
        #expect(romeo.archive(server).bodies == ["contact"])
        await server.stop()
    }

    @Test(arguments: [
        ("<prefs xmlns='urn:xmpp:mam:2'/>", "bad-request"),
        ("<prefs xmlns='urn:xmpp:mam:2' default='sometimes'/>", "bad-request"),
        ("<prefs xmlns='urn:xmpp:mam:2' default='always'><never><jid>@</jid></never></prefs>", "jid-malformed"),
        ("<prefs xmlns='urn:xmpp:mam:2' default='always'><always><jid/></always></prefs>", "jid-malformed"),
    ])
    func `preferences that are none are refused and change nothing (BUGS-NEXT A16)`(
        _ prefs: String, _ condition: String
    ) async throws {
        let server = try await TestServer(archivingModules)
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.refusal(server, "set", prefs) == condition)
        #expect(try juliet.ask(server, "get", "<prefs xmlns='urn:xmpp:mam:2'/>")?[attribute: "default"] == "always")
        await server.stop()
    }

    @Test func `more addresses than a list may have are refused`() async throws {
        let server = try await TestServer(archivingModules)
        let juliet = try server.login("juliet@example.org/balcony")
        let jids = (0...500).map { "<jid>u\($0)@example.org</jid>" }.joined()
        let prefs = "<prefs xmlns='urn:xmpp:mam:2' default='always'><never>\(jids)</never></prefs>"
        #expect(juliet.refusal(server, "set", prefs) == "resource-constraint")
        await server.stop()
    }

    @Test func `no more pages of one account at once than may be, and more when they are sent`() async throws {
        let server = try await TestServer(archivingModules)
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.sendRaw((0..<20).map { "<iq type='set' id='\($0)'>\(archiveQuery())</iq>" }.joined())
        server.settle()
        let refused = juliet.inbox.filter { $0[attribute: "type"] == "error" }
        #expect(refused.count == 12)
        #expect(refused.allSatisfy { $0.first("error", .client)?.elements.first?.name == "resource-constraint" })
        juliet.inbox = []
        #expect(juliet.archive(server).condition == nil)
        await server.stop()
    }
}
