import ModuleKit
import ModuleTesting
import Testing

/// RFC 6121 §3, what is said to whom and in which order.
@Suite struct SubscriptionTests {
    private static let get = "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>"

    private func pair(_ server: TestServer) throws -> (romeo: TestClient, juliet: TestClient) {
        let pair = (try server.login("romeo@example.org/orchard"), try server.login("juliet@example.org/balcony"))
        for client in [pair.0, pair.1] { client.send(Self.get) }
        server.settle()
        for client in [pair.0, pair.1] { client.inbox = [] }
        return pair
    }

    /// What a client got, in short: presence by type, pushes by subscription.
    private func news(_ client: TestClient) -> [String] {
        defer { client.inbox = [] }
        return client.inbox.map { stanza in
            guard stanza.name == "iq" else { return stanza[attribute: "type"] ?? "available" }
            let item = stanza.elements.first?.elements.first
            let marks = ["ask", "approved"].compactMap { item?[attribute: $0] }
            return (["push \(item?[attribute: "subscription"] ?? "-")"] + marks).joined(separator: " ")
        }
    }

    @Test func `an approval comes before the push, and presence behind both`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        romeo.send("<presence to='juliet@example.org/balcony' type='subscribe'/>")
        server.settle()
        #expect(news(romeo) == ["push none subscribe"])
        let request = try #require(juliet.inbox.first)
        #expect(request[attribute: "from"] == "romeo@example.org")
        #expect(request[attribute: "to"] == "juliet@example.org")
        #expect(news(juliet) == ["subscribe"])
        juliet.send("<presence to='romeo@example.org' type='subscribed'/>")
        server.settle()
        #expect(news(juliet) == ["push from"])
        #expect(news(romeo) == ["subscribed", "push to", "available"])
        await server.stop()
    }

    @Test func `a request to a domain that cannot be reached fails, and who watches the roster hears of it`()
        async throws
    {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        let hidden = try server.login("romeo@example.org/hidden", priority: nil)
        hidden.send(Self.get)
        server.settle()
        hidden.inbox = []
        romeo.send("<presence to='benvolio@elsewhere.example/x' type='subscribe' id='s'/>")
        server.settle()
        for client in [romeo, hidden] {
            let error = try #require(client.inbox.first { $0.name == "presence" })
            #expect(error[attribute: "from"] == "benvolio@elsewhere.example")
            #expect(error[attribute: "id"] == "s")
            #expect(error.first("error", .client)?.elements.first?.name == "remote-server-not-found")
            #expect(news(client).sorted() == ["error", "push none subscribe"])
        }
        #expect(juliet.inbox.isEmpty)
        await server.stop()
    }

    @Test func `who takes the sight back is seen going before that is said`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        server.befriend(romeo, juliet)
        juliet.send("<presence to='romeo@example.org' type='unsubscribed'/>")
        server.settle()
        #expect(news(romeo) == ["unavailable", "unsubscribed", "push from"])
        #expect(news(juliet) == ["push to"])
        await server.stop()
    }

    @Test func `who gives the sight up sees the contact go`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        server.befriend(romeo, juliet)
        juliet.send("<presence to='romeo@example.org' type='unsubscribe'/>")
        server.settle()
        #expect(news(romeo) == ["unsubscribe", "push to"])
        #expect(news(juliet).sorted() == ["push from", "unavailable"])
        await server.stop()
    }

    @Test func `a removed contact loses both directions, and sees the user go`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        server.befriend(romeo, juliet)
        romeo.send(
            """
            <iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='juliet@example.org'
            subscription='remove'/></query></iq>
            """)
        server.settle()
        #expect(
            news(juliet) == ["unsubscribe", "push to", "unavailable", "unsubscribed", "push none"])
        #expect(news(romeo).contains("push remove"))
        await server.stop()
    }

    @Test func `approved ahead, the contact is not announced when it asks`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        juliet.send("<presence to='romeo@example.org' type='subscribed'/>")
        server.settle()
        #expect(news(juliet) == ["push none true"])
        #expect(news(romeo) == [])
        romeo.send("<presence to='juliet@example.org' type='subscribe'/>")
        server.settle()
        #expect(news(juliet) == ["push from true"])
        #expect(news(romeo) == ["push none subscribe", "subscribed", "push to", "available"])
        await server.stop()
    }

    @Test func `an approval ahead can be taken back`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        juliet.send(
            "<presence to='romeo@example.org' type='subscribed'/><presence to='romeo@example.org' type='unsubscribed'/>"
        )
        server.settle()
        #expect(news(juliet) == ["push none true", "push none"])
        romeo.send("<presence to='juliet@example.org' type='subscribe'/>")
        server.settle()
        #expect(news(juliet) == ["subscribe"])
        await server.stop()
    }

    @Test func `a request is shown at each login as it came, until it is answered`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send("<presence to='juliet@example.org' type='subscribe'><status>It is I</status></presence>")
        server.settle()
        for _ in 0..<2 {
            let juliet = try server.login("juliet@example.org/balcony")
            try juliet.expect(
                """
                <presence from='romeo@example.org' to='juliet@example.org' type='subscribe'><status>It is \
                I</status></presence>
                """)
            juliet.end()
            server.settle()
        }
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send("<presence to='romeo@example.org' type='unsubscribed'/>")
        server.settle()
        juliet.end()
        server.settle()
        let again = try server.login("juliet@example.org/balcony")
        #expect(!news(again).contains("subscribe"))
        await server.stop()
    }

    @Test func `what was not asked for is not shown`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        for type in ["subscribed", "unsubscribed", "unsubscribe"] {
            romeo.send("<presence to='juliet@example.org' type='\(type)'/>")
        }
        server.settle()
        #expect(news(juliet) == [])
        await server.stop()
    }

    @Test func `pushes go to those who asked for the roster, and to them only`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, _) = try pair(server)
        let phone = try server.login("romeo@example.org/phone")
        server.settle()
        phone.inbox = []
        romeo.inbox = []
        phone.send("<presence to='juliet@example.org' type='subscribe'/>")
        server.settle()
        #expect(news(romeo) == ["push none subscribe"])
        #expect(news(phone) == [])
        await server.stop()
    }

    @Test func `no more contacts than allowed, by whatever way they come`() async throws {
        let server = try await TestServer(standardModules, config: ["roster": options(["limit": "10"])])
        let (romeo, _) = try pair(server)
        for index in 0..<10 { romeo.send("<presence to='c\(index)@example.net' type='subscribe'/>") }
        server.settle()
        romeo.inbox = []
        romeo.send("<presence to='juliet@example.org' type='subscribe' id='s'/>")
        server.settle()
        #expect(romeo.inbox.contains { $0[attribute: "type"] == "error" })
        romeo.inbox = []
        romeo.send("<presence to='c3@example.net' type='unsubscribe'/>")
        server.settle()
        // Nobody answers there.
        #expect(news(romeo) == ["error", "push none"])
        await server.stop()
    }

    @Test func `a request too long to be kept is still a request at the next login`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let long = String(repeating: "please ", count: 1000)
        romeo.send("<presence to='juliet@example.org' type='subscribe'><status>\(long)</status></presence>")
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        let request = try #require(juliet.inbox.first { $0[attribute: "from"] == "romeo@example.org" })
        #expect(request.name == "presence")
        #expect(request[attribute: "type"] == "subscribe")
        await server.stop()
    }
}
