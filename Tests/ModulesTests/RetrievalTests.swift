import ModuleKit
import ModuleTesting
import Offline
import Testing

/// XEP-0013.
@Suite struct RetrievalTests {
    private static let node = "http://jabber.org/protocol/offline"
    private let info = "<query xmlns='http://jabber.org/protocol/disco#info' node='\(node)'/>"
    private let items = "<query xmlns='http://jabber.org/protocol/disco#items' node='\(node)'/>"
    private let fetch = "<offline xmlns='\(node)'><fetch/></offline>"
    private let purge = "<offline xmlns='\(node)'><purge/></offline>"

    private func offline(_ action: String, _ nodes: [String]) -> String {
        let items = nodes.map { "<item action='\(action)' node='\($0)'/>" }.joined()
        return "<offline xmlns='\(Self.node)'>\(items)</offline>"
    }

    /// A server on which so many messages wait for Juliet, and her client without presence.
    private func waiting(
        _ count: Int, management: Bool = false, config: [String: ConfigNode] = [:]
    ) async throws -> (TestServer, romeo: TestClient, juliet: TestClient) {
        let server = try await TestServer(standardModules, config: config)
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 0..<count {
            romeo.send(message(to: "juliet@example.org", "\(number)"))
            server.settle()
        }
        let juliet = try server.login("juliet@example.org/balcony", priority: nil, management: management)
        return (server, romeo, juliet)
    }

    /// Another client of hers logs in and is sent 300 messages, while she sends this.
    private func flood(
        beside stanza: String
    ) async throws -> (TestServer, romeo: TestClient, juliet: TestClient, flooded: TestClient) {
        let (server, romeo, juliet) = try await waiting(300, config: ["offline": options(["limit": "1000"])])
        let flooded = server.client("juliet@example.org/chamber")
        flooded.logIn()
        juliet.send(stanza)
        server.settle()
        return (server, romeo, juliet, flooded)
    }

    private func count(_ client: TestClient, _ server: TestServer) throws -> String? {
        let answer = try client.ask(server, "get", info)
        let field = answer?.first("x", .dataForms)?.elements.first { $0[attribute: "var"] == "number_of_messages" }
        return field?.elements.first?.text
    }

    private func nodes(_ client: TestClient, _ server: TestServer) throws -> [String] {
        try client.ask(server, "get", items)?.elements.compactMap { $0[attribute: "node"] } ?? []
    }

    @Test func `the number of messages comes in a form`() async throws {
        let (server, _, juliet) = try await waiting(3)
        let answer = try #require(try juliet.ask(server, "get", info))
        #expect(answer[attribute: "node"] == Self.node)
        #expect(answer.elements.map(\.name) == ["identity", "feature", "x"])
        #expect(answer.elements.first?[attribute: "category"] == "automation")
        #expect(answer.elements.first?[attribute: "type"] == "message-list")
        #expect(try count(juliet, server) == "3")
        await server.stop()
    }

    @Test func `headers name sender and message, in order, and none is an empty list`() async throws {
        let (server, _, juliet) = try await waiting(3)
        let list = try #require(try juliet.ask(server, "get", items))
        #expect(list.elements.map { $0[attribute: "name"] } == Array(repeating: "romeo@example.org/orchard", count: 3))
        #expect(Set(list.elements.map { $0[attribute: "jid"] }) == ["juliet@example.org"])
        let nodes = list.elements.compactMap { $0[attribute: "node"] }
        #expect(nodes.count == 3 && nodes == nodes.sorted() && Set(nodes).count == 3)
        let mercutio = try server.login("mercutio@example.org/street", priority: nil)
        #expect(try mercutio.ask(server, "get", items)?.elements.isEmpty == true)
        await server.stop()
    }

    @Test func `a session that has asked is not flooded, and gets what arrives`() async throws {
        let (server, romeo, juliet) = try await waiting(2)
        #expect(try count(juliet, server) == "2")
        juliet.sendPresence(0)
        server.settle()
        #expect(juliet.takeBodies().isEmpty)
        for to in ["juliet@example.org", "juliet@example.org/balcony"] {
            romeo.send(message(to: to, "now"))
            server.settle()
            #expect(juliet.takeBodies() == ["now"])
        }
        #expect(try nodes(juliet, server).count == 2)
        await server.stop()
    }

    @Test(arguments: ["before", "after"])
    func `one session that looks keeps nothing from another, nor its order`(_ moment: String) async throws {
        let (server, romeo, juliet) = try await waiting(2)
        #expect(try count(juliet, server) == "2")
        if moment == "before" { juliet.sendPresence(10) }
        let second = try server.login("juliet@example.org/chamber")
        #expect(second.takeBodies() == ["0", "1"])
        if moment == "after" { juliet.sendPresence(10) }
        for number in 2..<4 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        // To the one of the higher priority, as if nobody had looked.
        #expect(juliet.takeBodies() == ["2", "3"])
        #expect(second.takeBodies().isEmpty)
        #expect(try nodes(juliet, server).isEmpty)
        await server.stop()
    }

    @Test func `what a session looks at is free again when its connection is lost`() async throws {
        let (server, _, juliet) = try await waiting(2, management: true)
        #expect(try count(juliet, server) == "2")
        juliet.sendPresence(0)
        server.settle()
        juliet.cut()
        server.settle()
        let second = try server.login("juliet@example.org/chamber")
        #expect(second.takeBodies() == ["0", "1"])
        juliet.logIn()
        server.settle()
        #expect(juliet.takeBodies().isEmpty)
        await server.stop()
    }

    @Test func `a session that looks while it is flooded ends its flood, and another one gets the rest`() async throws {
        let (server, _, juliet) = try await waiting(300, config: ["offline": options(["limit": "1000"])])
        juliet.sendPresence(0)
        juliet.send("<iq type='get' id='i'>\(items)</iq>")
        server.settle()
        let seen = juliet.takeBodies()
        #expect(seen.count < 300)
        let second = try server.login("juliet@example.org/chamber")
        #expect(seen + second.takeBodies() == (0..<300).map(String.init))
        await server.stop()
    }

    @Test func `who has not asked is flooded as ever, and what was left is flooded at the next login`() async throws {
        let (server, _, juliet) = try await waiting(2)
        #expect(try nodes(juliet, server).count == 2)
        juliet.end()
        server.settle()
        let again = try server.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == ["0", "1"])
        let third = try server.login("juliet@example.org/chamber")
        #expect(third.takeBodies().isEmpty)
        await server.stop()
    }

    @Test func `single messages come with their node and their delay, and stay`() async throws {
        let (server, _, juliet) = try await waiting(3)
        let nodes = try nodes(juliet, server)
        juliet.send("<iq type='get' id='v'>\(offline("view", [nodes[2], nodes[0]]))</iq>")
        server.settle()
        #expect(juliet.inbox.map(\.name) == ["message", "message", "iq"])
        #expect(
            juliet.inbox.prefix(2).map { $0.first("offline", .init(Self.node))?.elements.first?[attribute: "node"] }
                == [nodes[2], nodes[0]])
        #expect(juliet.inbox.first?.first("delay", .delay)?[attribute: "from"] == "example.org")
        #expect(juliet.takeBodies() == ["2", "0"])
        #expect(try count(juliet, server) == "3")
        await server.stop()
    }

    @Test func `messages are removed one by one, and a missing one removes nothing`() async throws {
        let (server, _, juliet) = try await waiting(3)
        let nodes = try nodes(juliet, server)
        #expect(
            juliet.refusal(server, "set", offline("remove", [nodes[0], "0000000000000000001"])) == "item-not-found")
        #expect(try count(juliet, server) == "3")
        #expect(juliet.refusal(server, "set", offline("remove", [nodes[0], nodes[2]])) == nil)
        #expect(try self.nodes(juliet, server) == [nodes[1]])
        #expect(juliet.refusal(server, "get", offline("view", [nodes[0]])) == "item-not-found")
        #expect(juliet.refusal(server, "set", offline("remove", [nodes[0]])) == "item-not-found")
        let next = try await TestServer(standardModules, memory: server.crash())
        let again = try next.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == ["1"])
        await next.stop()
    }

    @Test(arguments: [false, true])
    func `all are fetched at the client's pace, and stay until they are purged`(_ management: Bool) async throws {
        let (server, _, juliet) = try await waiting(
            320, management: management, config: ["offline": options(["limit": "1000"])])
        juliet.send("<iq type='get' id='f'>\(fetch)</iq>")
        server.settle()
        #expect(juliet.inbox.last?[attribute: "id"] == "f")
        #expect(juliet.takeBodies() == (0..<320).map(String.init))
        juliet.inbox = []
        juliet.sendPresence(0)
        server.settle()
        #expect(juliet.takeBodies().isEmpty)
        #expect(try count(juliet, server) == "320")
        #expect(juliet.refusal(server, "set", purge) == nil)
        #expect(try count(juliet, server) == "0")
        await server.stop()
    }

    @Test func `a copy that the client did not get is no second message`() async throws {
        let (server, _, juliet) = try await waiting(2, management: true)
        juliet.answersRequests = false
        juliet.send("<iq type='get' id='f'>\(fetch)</iq>")
        server.settle()
        juliet.cut()
        server.advance(by: .seconds(700))
        let again = try server.login("juliet@example.org/chamber")
        #expect(again.takeBodies() == ["0", "1"])
        await server.stop()
    }

    @Test func `what a session has in its queue is neither shown nor removed`() async throws {
        let (server, romeo, looker) = try await waiting(0)
        var options = TestClient.Options()
        options.management = true
        let holder = server.client("juliet@example.org/chamber", options)
        holder.answersRequests = false
        holder.logIn()
        server.settle()
        romeo.send(message(to: "juliet@example.org", "held"))
        // Unacknowledged for so long, it is on disk.
        server.advance(by: .seconds(10))
        #expect(holder.takeBodies() == ["held"])
        #expect(try count(looker, server) == "0")
        #expect(try nodes(looker, server).isEmpty)
        #expect(looker.refusal(server, "set", purge) == nil)
        holder.cut()
        looker.end()
        server.advance(by: .seconds(700))
        let again = try server.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == ["held"])
        await server.stop()
    }

    @Test func `looking does not end the flood of another session`() async throws {
        let (server, _, juliet, flooded) = try await flood(beside: "<iq type='get' id='i'>\(items)</iq>")
        #expect(flooded.takeBodies() == (0..<300).map(String.init))
        #expect(try nodes(juliet, server).isEmpty)
        await server.stop()
    }

    @Test func `a purge leaves to another session what it has`() async throws {
        let (server, romeo, juliet, flooded) = try await flood(beside: "<iq type='set' id='p'>\(purge)</iq>")
        let seen = flooded.takeBodies()
        #expect(seen == (0..<seen.count).map(String.init))
        #expect(try count(juliet, server) == "0")
        romeo.send(message(to: "juliet@example.org", "next"))
        server.settle()
        #expect(flooded.takeBodies() == ["next"])
        await server.stop()
    }

    @Test func `a purge makes room for as many as were there`() async throws {
        let (server, romeo, juliet) = try await waiting(2, config: ["offline": options(["limit": "2"])])
        _ = try juliet.ask(server, "set", purge)
        juliet.end()
        romeo.inbox = []
        for number in 2..<5 {
            romeo.send(message(to: "juliet@example.org", "\(number)"))
            server.settle()
        }
        // The last one is bounced.
        #expect(romeo.inbox.count == 1)
        let again = try server.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == ["2", "3"])
        await server.stop()
    }

    @Test(arguments: [false, true])
    func `a removal that fails while another session is flooded leaves no message behind`(_ isDisk: Bool) async throws {
        let (server, romeo, juliet) = try await waiting(3)
        let nodes = try nodes(juliet, server)
        let flooded = server.client("juliet@example.org/chamber")
        flooded.logIn()
        for _ in 0..<40 { _ = server.simulation.step(&server.generator) }
        if isDisk { server.storage.failCommits(1) }
        juliet.send(
            "<iq type='set' id='x'>\(offline("remove", [nodes[2]] + (isDisk ? [] : ["0000000000000000001"])))</iq>")
        server.settle()
        romeo.send(message(to: "juliet@example.org", "next"))
        server.settle()
        #expect(flooded.takeBodies() == ["0", "1", "2", "next"])
        await server.stop()
    }

    @Test func `a disk that refuses is told, and nothing is removed`() async throws {
        let (server, _, juliet) = try await waiting(2)
        let nodes = try nodes(juliet, server)
        server.storage.set(.failing)
        #expect(juliet.refusal(server, "set", offline("remove", [nodes[0]])) == "resource-constraint")
        #expect(juliet.refusal(server, "set", purge) == "resource-constraint")
        server.storage.set(.none)
        #expect(try self.nodes(juliet, server) == nodes)
        juliet.end()
        server.settle()
        let again = try server.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == ["0", "1"])
        await server.stop()
    }

    @Test func `a session has so many answers on their way at once`() async throws {
        let (server, romeo, juliet) = try await waiting(2)
        // What is read of her mailbox waits for what is being written to it.
        server.storage.set(.stalled)
        romeo.send(message(to: "juliet@example.org", "2"))
        server.settle()
        for number in 0..<6 { juliet.send("<iq type='get' id='f\(number)'>\(fetch)</iq>") }
        server.settle()
        #expect(juliet.inbox.map { $0[attribute: "id"] } == ["f4", "f5"])
        #expect(
            juliet.inbox.allSatisfy { $0.first("error", .client)?.elements.first?.name == "resource-constraint" })
        juliet.inbox = []
        server.storage.set(.none)
        server.settle()
        #expect(juliet.inbox.compactMap { $0.name == "iq" ? $0[attribute: "id"] : nil } == ["f0", "f1", "f2", "f3"])
        #expect(juliet.takeBodies() == (0..<12).map { String($0 % 3) })
        await server.stop()
    }

    @Test func `what arrives for nobody while somebody looks is kept with the rest`() async throws {
        let (server, romeo, juliet) = try await waiting(1)
        #expect(try count(juliet, server) == "1")
        // She has no presence, so nobody takes it.
        romeo.send(message(to: "juliet@example.org", "later"))
        server.settle()
        #expect(juliet.takeBodies().isEmpty)
        #expect(try count(juliet, server) == "2")
        juliet.end()
        server.settle()
        let again = try server.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == ["0", "later"])
        await server.stop()
    }

    @Test func `a message that is too old is neither listed nor sent`() async throws {
        let (server, _, juliet) = try await waiting(1, config: ["offline": options(["expiry": "1h"])])
        let nodes = try nodes(juliet, server)
        server.advance(by: .seconds(4000))
        #expect(try self.nodes(juliet, server).isEmpty)
        #expect(juliet.refusal(server, "get", fetch) == nil)
        #expect(juliet.takeBodies().isEmpty)
        #expect(nodes.count == 1)
        await server.stop()
    }

    @Test func `strangers and contacts do not look`() async throws {
        let (server, romeo, juliet) = try await waiting(1)
        juliet.sendPresence(-1)
        server.befriend(romeo, juliet)
        #expect(romeo.refusal(server, "get", info, to: "juliet@example.org") == "forbidden")
        #expect(romeo.refusal(server, "get", items, to: "juliet@example.org") == "forbidden")
        for (type, request) in [("get", fetch), ("set", purge), ("get", offline("view", ["1"]))] {
            #expect(romeo.refusal(server, type, request, to: "juliet@example.org") == "forbidden")
        }
        // Strangers hear the same of names that nobody has.
        let mercutio = try server.login("mercutio@example.org/street")
        for address in ["juliet@example.org", "nobody@example.org"] {
            for request in [info, items, fetch, offline("view", ["1"])] {
                #expect(mercutio.refusal(server, "get", request, to: address) == "forbidden", "\(address) \(request)")
            }
            for request in [purge, offline("remove", ["1"])] {
                #expect(mercutio.refusal(server, "set", request, to: address) == "forbidden", "\(address) \(request)")
            }
        }
        await server.stop()
    }

    @Test(arguments: [
        ("get", "", "bad-request"), ("get", "<purge/>", "bad-request"), ("set", "<fetch/>", "bad-request"),
        ("get", "<item action='remove' node='1'/>", "bad-request"), ("get", "<item action='view'/>", "bad-request"),
        ("get", "<item action='view' node='-1'/>", "item-not-found"),
        ("get", "<item action='view' node='99999999999999999999999'/>", "item-not-found"),
        ("get", "<item action='view' node=\"1' OR '1'='1\"/>", "item-not-found"),
        ("get", "<fetch/><fetch/>", "bad-request"),
    ])
    func `what breaks the rules is refused`(_ type: String, _ content: String, _ condition: String) async throws {
        let (server, _, juliet) = try await waiting(1)
        let request = "<offline xmlns='\(Self.node)'>\(content)</offline>"
        #expect(juliet.refusal(server, type, request) == condition)
        #expect(juliet.takeBodies().isEmpty)
        await server.stop()
    }

    @Test func `what only the server says is taken out of messages`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send(
            "<message to='juliet@example.org' type='chat'><body>x</body><offline xmlns='\(Self.node)'><item node='1'/>"
                + "</offline></message>")
        server.settle()
        try juliet.expect("<message from='romeo@example.org/orchard'><body>x</body></message>")
        await server.stop()
    }
}
