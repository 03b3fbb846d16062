import ModuleKit
import ModuleTesting
import Roster
import Testing

/// How large a roster may be, in contacts, bytes and requests.
@Suite struct RosterLimitTests {
    private func set(_ contact: String, name: String = "", groups: [String] = []) -> String {
        let groups = groups.map { "<group>\($0)</group>" }.joined()
        return "<query xmlns='jabber:iq:roster'><item jid='\(contact)' name='\(name)'>\(groups)</item></query>"
    }

    private func count(_ server: TestServer, _ client: TestClient) throws -> Int {
        try client.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")?.elements.count ?? 0
    }

    @Test func `a roster has a limit in bytes, and what makes it smaller is always allowed`() async throws {
        let server = try await TestServer(standardModules, config: ["roster": options(["bytes": "8KiB"])])
        let romeo = try server.login("romeo@example.org/orchard")
        let name = String(repeating: "n", count: 1000)
        var refused = 0
        for index in 0..<12 {
            refused += romeo.refusal(server, "set", set("c\(index)@example.net", name: name)) == nil ? 0 : 1
        }
        #expect(refused == 5)
        #expect(romeo.refusal(server, "set", set("d@example.net", name: name)) == "resource-constraint")
        #expect(romeo.refusal(server, "set", set("c0@example.net", name: name, groups: [name, "g\(name)"])) != nil)
        #expect(romeo.refusal(server, "set", set("c0@example.net", name: "brief")) == nil)
        #expect(romeo.refusal(server, "set", set("d@example.net", name: name)) == nil)
        romeo.inbox = []
        romeo.send("<presence type='subscribe' to='\(String(repeating: "e", count: 1000))@example.net'/>")
        server.settle()
        #expect(romeo.inbox.first?.first("error", .client)?.elements.first?.name == "resource-constraint")
        #expect(try count(server, romeo) == 8)
        let next = try await TestServer(
            standardModules, config: ["roster": options(["bytes": "4KiB"])], memory: await server.stop())
        let again = try next.login("romeo@example.org/orchard")
        // After the limit was lowered the items stay, and a subscription changes none of their text.
        #expect(try count(next, again) == 8)
        #expect(again.refusal(next, "set", set("x@example.net")) == "resource-constraint")
        #expect(again.refusal(next, "set", set("c1@example.net", name: "brief")) == nil)
        again.inbox = []
        again.send("<presence type='subscribe' to='c2@example.net'/>")
        next.settle()
        #expect(
            again.inbox.first { $0.name == "presence" }?.first("error", .client)?.elements.first?.name
                != "resource-constraint")
        await next.stop()
    }

    @Test func `changes under way count as well`() async throws {
        let server = try await TestServer(standardModules, config: ["roster": options(["bytes": "8KiB"])])
        let romeo = try server.login("romeo@example.org/orchard")
        let clients = try (0..<20).map { try server.login("romeo@example.org/\($0)", priority: nil) }
        server.storage.set(.stalled)
        for (index, client) in clients.enumerated() {
            let query = set("c\(index)@example.net", name: String(repeating: "n", count: 1000))
            client.send("<iq type='set' id='s'>\(query)</iq>")
        }
        server.settle()
        server.storage.set(.none)
        server.settle()
        #expect(try count(server, romeo) == 7)
        await server.stop()
    }

    @Test func `a contact has twenty groups and no more, unless the operator says so`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let groups = (0..<21).map { "g\($0)" }
        #expect(romeo.refusal(server, "set", set("c@example.net", groups: Array(groups.dropLast()))) == nil)
        #expect(romeo.refusal(server, "set", set("c@example.net", groups: groups)) == "not-acceptable")
        await server.stop()
    }

    @Test func `requests that wait have a limit of their own, and take no room from contacts`() async throws {
        let strangers = (0..<5).map { "s\($0)" }
        let server = try await TestServer(
            standardModules, config: ["roster": options(["requests": "3", "limit": "10"])],
            accounts: ["romeo"] + strangers)
        let clients = try strangers.map { try server.login("\($0)@example.org/x") }
        for client in clients { client.send("<presence type='subscribe' to='romeo@example.org'/>") }
        server.settle()
        let refused = clients.filter { client in
            client.inbox.contains { $0.name == "presence" && $0[attribute: "type"] == "error" }
        }
        #expect(refused.count == 2)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.inbox.count { $0[attribute: "type"] == "subscribe" } == 3)
        for index in 0..<10 { #expect(romeo.refusal(server, "set", set("c\(index)@example.net")) == nil) }
        #expect(romeo.refusal(server, "set", set("c10@example.net")) == "resource-constraint")
        // An answer makes room.
        romeo.send("<presence type='unsubscribed' to='\(romeo.inbox.first?[attribute: "from"] ?? "")'/>")
        server.settle()
        refused[0].inbox = []
        refused[0].send("<presence type='subscribe' to='romeo@example.org'/>")
        server.settle()
        #expect(refused[0].inbox.allSatisfy { $0[attribute: "type"] != "error" })
        await server.stop()
    }

    @Test func `of a long request only that it was made is kept`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        let mercutio = try server.login("mercutio@example.org/street")
        juliet.send("<presence type='subscribe' to='romeo@example.org'><status>Hi</status></presence>")
        let long = String(repeating: "x", count: 2000)
        mercutio.send("<presence type='subscribe' to='romeo@example.org'><status>\(long)</status></presence>")
        server.settle()
        let romeo = try server.login("romeo@example.org/orchard")
        let shown = Dictionary(
            romeo.inbox.filter { $0[attribute: "type"] == "subscribe" }
                .map { ($0[attribute: "from"] ?? "", $0.first("status", .client)?.text ?? "nothing") }
        ) { first, _ in first }
        #expect(shown == ["juliet@example.org": "Hi", "mercutio@example.org": "nothing"])
        await server.stop()
    }

    @Test func `many contacts and many requests are gone through without leaving one out`() async throws {
        let strangers = (0..<60).map { "s\($0)" }
        let server = try await TestServer(standardModules, accounts: ["romeo", "juliet"] + strangers)
        let romeo = try server.login("romeo@example.org/orchard")
        let clients = try strangers.map { try server.login("\($0)@example.org/x") }
        for client in clients {
            romeo.send("<presence type='subscribe' to='\(client.account)'/>")
            server.settle()
            client.send("<presence type='subscribed' to='romeo@example.org'/>")
            client.send("<presence type='subscribe' to='romeo@example.org'/>")
        }
        server.settle()
        let again = try server.login("romeo@example.org/garden")
        let there = again.inbox.filter { $0[attribute: "type"] == nil }.compactMap { $0[attribute: "from"] }
        #expect(Set(there) == Set(strangers.map { "\($0)@example.org/x" } + ["romeo@example.org/orchard"]))
        let asking = again.inbox.filter { $0[attribute: "type"] == "subscribe" }.compactMap { $0[attribute: "from"] }
        #expect(Set(asking) == Set(strangers.map { "\($0)@example.org" }))
        #expect(again.inbox.count == 121)
        await server.stop()
    }
}
