import Last
import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

@Suite struct LastTests {
    private let query = "<query xmlns='jabber:iq:last'/>"

    private func friends() async throws -> (TestServer, romeo: TestClient, juliet: TestClient) {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        return (server, romeo, juliet)
    }

    @Test func `a host tells how long the server has been running`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(1234))
        let answer = try #require(try romeo.ask(server, "get", query, to: "example.org"))
        #expect(answer[attribute: "seconds"] == "1234")
        #expect(answer.text.isEmpty)
        try await server.reload(
            standardModules.filter { $0 != LastModule.self }.map { ModuleConfig(name: $0.info.name) })
        #expect(romeo.refusal(server, "get", query, to: "example.org") == "service-unavailable")
        try await server.reload(standardModules.map { ModuleConfig(name: $0.info.name) })
        #expect(try romeo.ask(server, "get", query, to: "example.org")?[attribute: "seconds"] == "1234")
        await server.stop()
    }

    @Test func `an account that is connected was here zero seconds ago`() async throws {
        let (server, romeo, juliet) = try await friends()
        server.advance(by: .seconds(50))
        let answer = try #require(try romeo.ask(server, "get", query, to: "juliet@example.org"))
        #expect(answer[attribute: "seconds"] == "0")
        #expect(answer.children.isEmpty)
        _ = juliet
        await server.stop()
    }

    @Test func `who logged out was here so long ago, with the last status, also after a restart`() async throws {
        let (server, romeo, juliet) = try await friends()
        juliet.send("<presence type='unavailable'><status>Heading Home</status></presence>")
        server.settle()
        juliet.end()
        server.advance(by: .seconds(903))
        let answer = try #require(try romeo.ask(server, "get", query, to: "juliet@example.org"))
        #expect(answer[attribute: "seconds"] == "903")
        #expect(answer.text == "Heading Home")
        let next = try await TestServer(standardModules, memory: server.crash())
        let again = try next.login("romeo@example.org/orchard")
        let after = try #require(try again.ask(next, "get", query, to: "juliet@example.org"))
        #expect(after.text == "Heading Home")
        await next.stop()
    }

    @Test func `a connection that was lost is a logout without a status`() async throws {
        let (server, romeo, juliet) = try await friends()
        juliet.send("<presence type='unavailable'><status>Away</status></presence><presence/>")
        server.settle()
        juliet.cut()
        server.advance(by: .seconds(10))
        let answer = try #require(try romeo.ask(server, "get", query, to: "juliet@example.org"))
        #expect(answer[attribute: "seconds"] == "10")
        #expect(answer.text.isEmpty)
        await server.stop()
    }

    @Test func `the last of several sessions counts`() async throws {
        let (server, romeo, juliet) = try await friends()
        let chamber = try server.login("juliet@example.org/chamber")
        juliet.send("<presence type='unavailable'><status>early</status></presence>")
        server.settle()
        juliet.end()
        server.advance(by: .seconds(100))
        #expect(try romeo.ask(server, "get", query, to: "juliet@example.org")?[attribute: "seconds"] == "0")
        chamber.send("<presence type='unavailable'><status>late</status></presence>")
        server.settle()
        chamber.end()
        server.advance(by: .seconds(5))
        let answer = try #require(try romeo.ask(server, "get", query, to: "juliet@example.org"))
        #expect(answer[attribute: "seconds"] == "5")
        #expect(answer.text == "late")
        await server.stop()
    }

    @Test func `a status of seven kilobytes is not kept whole`() async throws {
        let (server, romeo, juliet) = try await friends()
        let status = String(repeating: "ü", count: 3500)
        juliet.send("<presence type='unavailable'><status>\(status)</status></presence>")
        server.settle()
        juliet.end()
        server.settle()
        let answer = try #require(try romeo.ask(server, "get", query, to: "juliet@example.org"))
        #expect((1...1024).contains(answer.text.utf8.count))
        #expect(answer.text.allSatisfy { $0 == "ü" })
        await server.stop()
    }

    @Test(arguments: ["juliet@example.org", "nobody@example.org"])
    func `strangers are forbidden to know, of accounts, of their clients, and of names that nobody has`(
        _ address: String
    ) async throws {
        let (server, _, _) = try await friends()
        let mercutio = try server.login("mercutio@example.org/street")
        for suffix in ["", "/balcony", "/elsewhere"] {
            #expect(mercutio.refusal(server, "get", query, to: address + suffix) == "forbidden", "\(suffix)")
            #expect(mercutio.refusal(server, "set", query, to: address + "/elsewhere") == "service-unavailable")
        }
        await server.stop()
    }

    @Test func `of a client that is not there a contact hears that it is not there`() async throws {
        let (server, romeo, _) = try await friends()
        #expect(romeo.refusal(server, "get", query, to: "juliet@example.org/elsewhere") == "service-unavailable")
        await server.stop()
    }

    @Test func `a client of a contact is asked itself`() async throws {
        let (server, romeo, juliet) = try await friends()
        romeo.send("<iq type='get' id='l' to='juliet@example.org/balcony'>\(query)</iq>")
        server.settle()
        try juliet.expect("<iq type='get' id='l' from='romeo@example.org/orchard'><query xmlns='jabber:iq:last'/></iq>")
        await server.stop()
    }

    @Test func `a session without presence counts as being here, and of an account nobody used nothing is known`()
        async throws
    {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        #expect(try romeo.ask(server, "get", query, to: "romeo@example.org")?[attribute: "seconds"] == "0")
        let juliet = try server.login("juliet@example.org/balcony")
        // Juliet lets Mercutio see her presence without ever having met him; it is the other way round that counts.
        juliet.send("<presence to='mercutio@example.org' type='subscribe'/>")
        server.settle()
        #expect(juliet.refusal(server, "get", query, to: "mercutio@example.org") == "forbidden")
        await server.stop()
    }

    /// XEP-0256: what a client says of its idleness reaches its contacts as it is, at once and by a probe.
    @Test func `last activity in presence passes through`() async throws {
        let (server, romeo, juliet) = try await friends()
        juliet.send("<presence><show>away</show><query xmlns='jabber:iq:last' seconds='600'/></presence>")
        server.settle()
        let sent = try #require(romeo.inbox.first { $0.name == "presence" && $0.first("show", .client) != nil })
        #expect(sent.first("query", .lastActivity)?[attribute: "seconds"] == "600")
        let again = try server.login("romeo@example.org/garden")
        let probed = again.inbox.first { $0[attribute: "from"] == "juliet@example.org/balcony" }
        #expect(probed?.first("query", .lastActivity)?[attribute: "seconds"] == "600")
        await server.stop()
    }

    /// Romeo hears of Juliet's last stay with this stamp on disk: the seconds, or the condition of the error.
    private func answer(_ stamp: Int64) async throws -> String {
        let (server, romeo, juliet) = try await friends()
        juliet.end()
        server.settle()
        let memory = server.memory
        let owner = await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "juliet")?.owner
            }
        }
        let juliets = try #require(owner ?? nil)
        server.storage.submit([.put("last", juliets, key: "seen", value: Array("\(stamp)\0bye".utf8))]) { _ in }
        server.settle()
        defer { server.crash() }
        do {
            return try romeo.ask(server, "get", query, to: "juliet@example.org")?[attribute: "seconds"] ?? "nothing"
        } catch {
            return (error as? Refusal)?.condition ?? "\(error)"
        }
    }

    @Test(arguments: [0, 1, 86_400_000, 1_767_225_599_999, 7_258_118_400_000, 253_402_300_799_999, 1 << 52])
    func `of a stay that was stamped by a clock that was wrong nothing is known`(_ stamp: Int64) async throws {
        #expect(try await answer(stamp) == "item-not-found")
    }

    @Test func `a clock that was set back a little is no matter, one that was set back far is`() async throws {
        let now = ManualClock().wallClock.milliseconds
        #expect(try await answer(now - 5_000) == "5")
        #expect(try await answer(now + 5_000) == "0")
        #expect(try await answer(now + 86_400_000) == "item-not-found")
    }
}
