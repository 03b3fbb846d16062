import ModuleKit
import ModuleTesting
import Testing

/// Subscriptions faster than the disk takes them: the roster keeps its limit, and what waits is bounded.
@Suite struct RosterFloodTests {
    private func refused(_ client: TestClient) -> Int {
        client.inbox.count { $0.name == "presence" && $0[attribute: "type"] == "error" }
    }

    private func contacts(_ server: TestServer, _ client: TestClient) throws -> Int {
        client.inbox = []
        client.send("<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>")
        server.settle()
        let result = try #require(client.inbox.first { $0[attribute: "id"] == "g" })
        return result.elements.first?.elements.count ?? 0
    }

    @Test func `no more contacts than allowed, however fast they come`() async throws {
        let server = try await TestServer(standardModules, config: ["roster": options(["limit": "10"])])
        let romeo = try server.login("romeo@example.org/orchard")
        server.storage.set(.stalled)
        for index in 0..<50 { romeo.send("<presence to='c\(index)@example.net' type='subscribe'/>") }
        server.settle()
        server.storage.set(.none)
        server.settle()
        #expect(refused(romeo) >= 40)
        #expect(try contacts(server, romeo) == 10)
        // What was refused has not taken anybody's place.
        romeo.send(
            """
            <iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='c3@example.net' subscription='remove'/>\
            </query></iq>
            """)
        server.settle()
        romeo.send("<presence to='new@example.net' type='subscribe'/>")
        server.settle()
        #expect(try contacts(server, romeo) == 10)
        await server.stop()
    }

    @Test func `changes that failed leave their room to others`() async throws {
        let server = try await TestServer(standardModules, config: ["roster": options(["limit": "10"])])
        let romeo = try server.login("romeo@example.org/orchard")
        server.storage.set(.failing)
        for index in 0..<10 { romeo.send("<presence to='c\(index)@example.net' type='subscribe'/>") }
        server.settle()
        server.storage.set(.none)
        for index in 0..<10 { romeo.send("<presence to='d\(index)@example.net' type='subscribe'/>") }
        server.settle()
        #expect(try contacts(server, romeo) == 10)
        await server.stop()
    }

    @Test func `what waits for the disk has an end, and what is too much is refused`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.storage.set(.stalled)
        for _ in 0..<2000 {
            romeo.send("<presence to='juliet@example.org' type='subscribe'/>")
            romeo.send("<presence to='juliet@example.org' type='unsubscribe'/>")
            server.settle()
        }
        #expect(refused(romeo) >= 2500)
        server.storage.set(.none)
        server.settle()
        romeo.inbox = []
        romeo.send("<presence to='juliet@example.org' type='subscribe'/>")
        server.settle()
        #expect(refused(romeo) == 0)
        #expect(try contacts(server, romeo) == 1)
        await server.stop()
    }
}
