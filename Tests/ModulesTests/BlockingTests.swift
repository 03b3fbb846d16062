import ModuleKit
import ModuleTesting
import StorageMemory
import Testing
import XMPPServer

/// XEP-0191 with the rules behind it.
@Suite struct BlockingTests {
    // MARK: The list

    @Test func `the list says what is blocked, and who asked for it hears of changes`() async throws {
        // Where there are privacy lists, every client hears of those as well.
        let server = try await TestServer(standardModules.filter { $0.info.name != "privacy" })
        let juliet = try server.login("juliet@example.org/balcony")
        let chamber = try server.login("juliet@example.org/chamber", priority: nil)
        let silent = try server.login("juliet@example.org/garden")
        for client in [juliet, chamber] { try #expect(client.blocklist(server) == []) }
        juliet.inbox = []
        silent.inbox = []
        try juliet.block(server, "romeo@example.net", "Iago@Shakespeare.lit/x", "example.com")
        let push = """
            <iq type='set' from='juliet@example.org'><block xmlns='urn:xmpp:blocking'><item jid='romeo@example.net'/>\
            <item jid='iago@shakespeare.lit/x'/><item jid='example.com'/></block></iq>
            """
        try juliet.expect(push)
        try chamber.expect(push)
        #expect(try chamber.blocklist(server) == ["romeo@example.net", "iago@shakespeare.lit/x", "example.com"])
        // Nothing new: nothing to tell.
        try juliet.block(server, "romeo@example.net")
        try juliet.expectNoBlockingPush()
        try juliet.unblock(server, "romeo@example.net", "nobody@example.net")
        try chamber.expect(
            "<iq type='set'><unblock xmlns='urn:xmpp:blocking'><item jid='romeo@example.net'/></unblock></iq>")
        chamber.inbox = []
        try juliet.unblock(server)
        try chamber.expect("<iq type='set'><unblock xmlns='urn:xmpp:blocking'/></iq>")
        #expect(try juliet.blocklist(server) == [])
        try silent.expectNoBlockingPush()
        await server.stop()
    }

    @Test func `wrong requests are refused, and change nothing`() async throws {
        let server = try await TestServer(standardModules, config: ["blocking": options(["limit": "10"])])
        let juliet = try server.login("juliet@example.org/balcony")
        func refusal(_ name: String, _ content: String, to address: String? = nil) -> String? {
            juliet.refusal(
                server, "set", "<\(name) xmlns='urn:xmpp:blocking'>\(content)</\(name)>", to: address)
        }
        #expect(refusal("block", "") == "bad-request")
        #expect(refusal("block", "<item/>") == "bad-request")
        #expect(refusal("block", "<x xmlns='urn:test'/>") == "bad-request")
        #expect(refusal("block", "<item jid='a@@b'/>") == "jid-malformed")
        #expect(refusal("block", "<item jid='a@b'/><item jid=''/>") == "jid-malformed")
        #expect(refusal("unblock", "<x xmlns='urn:test'/>") == "bad-request")
        #expect(refusal("unblock", "<item jid='@b'/>") == "jid-malformed")
        #expect(refusal("blocklist", "") == "service-unavailable")
        #expect(refusal("block", "<item jid='a@b'/>", to: "romeo@example.org") == "service-unavailable")
        #expect(refusal("block", "<item jid='a@b'/>", to: "example.org") == "service-unavailable")
        let many = (0..<11).map { "<item jid='\($0)@b'/>" }
        #expect(refusal("block", many.joined()) == "resource-constraint")
        #expect(try juliet.blocklist(server) == [])
        #expect(refusal("block", many.dropLast().joined()) == nil)
        #expect(refusal("block", many.last!) == "resource-constraint")
        // The same again takes no room.
        #expect(refusal("block", many.dropLast().joined()) == nil)
        await server.stop()
    }

    @Test func `nobody is kept from himself or from the server`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        let chamber = try server.login("juliet@example.org/chamber")
        #expect(
            juliet.refusal(
                server, "set", "<block xmlns='urn:xmpp:blocking'><item jid='juliet@example.org/chamber'/></block>")
                == "not-allowed")
        try juliet.block(server, "example.org")
        chamber.inbox = []
        say(juliet, message(to: "juliet@example.org/chamber", "to myself"), server)
        say(juliet, "<presence><show>away</show></presence>", server)
        #expect(chamber.takeBodies() == ["to myself"])
        try chamber.expect("<presence from='juliet@example.org/balcony'><show>away</show></presence>")
        #expect(juliet.refusal(server, "get", "<ping xmlns='urn:xmpp:ping'/>", to: "example.org") == nil)
        // The others of the domain are blocked.
        say(romeo, message(to: "juliet@example.org", "Hi"), server)
        try romeo.expect("<message type='error' from='juliet@example.org'>…</message>")
        await server.stop()
    }

    @Test func `blocks are there after a crash, and hold for the first stanza (BUGS-NEXT C8)`() async throws {
        let server = try await TestServer(standardModules)
        let (_, juliet) = try contactPair(server)
        try juliet.block(server, "romeo@example.org")
        let next = try await TestServer(standardModules, memory: server.crash())
        let romeo = try next.login("romeo@example.org/orchard")
        // Nothing is known of her account: it is read for this message.
        say(romeo, message(to: "juliet@example.org", "Hi"), next)
        #expect(romeo.takeErrors() == ["service-unavailable"])
        let again = try next.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == [])
        #expect(try again.blocklist(next) == ["romeo@example.org"])
        await next.stop()
    }

    @Test func `a change that the disk refuses is not made, and the client is told`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        _ = try juliet.blocklist(server)
        server.storage.set(.failing)
        #expect(
            juliet.refusal(
                server, "set", "<block xmlns='urn:xmpp:blocking'><item jid='romeo@example.org'/></block>")
                == "resource-constraint")
        try juliet.expectNoBlockingPush()
        server.storage.set(.none)
        #expect(try juliet.blocklist(server) == [])
        say(romeo, message(to: "juliet@example.org", "Hi"), server)
        #expect(juliet.takeBodies() == ["Hi"])
        await server.stop()
    }

    @Test func `while a change waits for the disk the old rules hold, and nothing is told`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        _ = try juliet.blocklist(server)
        server.storage.set(.stalled)
        say(
            juliet,
            "<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'><item jid='romeo@example.org'/></block></iq>",
            server
        )
        say(romeo, message(to: "juliet@example.org/balcony", "Hi", type: "headline"), server)
        #expect(juliet.takeBodies() == ["Hi"])
        #expect(juliet.inbox.isEmpty)
        try romeo.expectNo("presence")
        server.storage.set(.none)
        server.settle()
        #expect(juliet.inbox.contains { $0[attribute: "id"] == "b" && $0[attribute: "type"] == "result" })
        try romeo.expect("<presence type='unavailable' from='juliet@example.org/balcony'/>")
        await server.stop()
    }

    // MARK: What comes in

    @Test func `messages of the blocked get the answer of an address that nobody has`() async throws {
        for priority in [nil, 0] as [Int?] {
            let server = try await TestServer(standardModules)
            let (romeo, juliet) = try contactPair(server)
            try juliet.block(server, "romeo@example.org")
            if priority == nil { juliet.end() }
            server.settle()
            for (content, _) in DiscretionTests.payloads {
                for type in ["chat", "normal", "headline", "error", "groupchat"] {
                    for resource in ["", "/balcony", "/absent"] {
                        let answers = ["juliet", "nobody"].map { name in
                            romeo.inbox = []
                            say(
                                romeo,
                                "<message to='\(name)@example.org\(resource)' type='\(type)' id='m'>\(content)</message>",
                                server)
                            return romeo.takeErrors()
                        }
                        // BUGS-NEXT C6: what a room sends goes to full addresses.
                        let isOfRoom = type == "groupchat" && !resource.isEmpty
                        #expect(
                            answers[0] == (isOfRoom ? [] : answers[1]), "\(type) to \(resource): \(content)")
                    }
                }
            }
            if priority == nil {
                let again = try server.login("juliet@example.org/balcony")
                try again.expectNo("message")
            } else {
                try juliet.expectNo("message")
            }
            await server.stop()
        }
    }

    @Test func `presence of the blocked vanishes, whatever it is`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        try juliet.block(server, "romeo@example.org")
        romeo.inbox = []
        juliet.inbox = []
        let before = try juliet.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        for type in ["subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", "unavailable", "error"] {
            say(romeo, "<presence to='juliet@example.org' type='\(type)' id='p'/>", server)
        }
        say(romeo, "<presence to='juliet@example.org/balcony'/>", server)
        say(romeo, "<presence><show>away</show></presence>", server)
        #expect(!romeo.inbox.contains { $0[attribute: "from"]?.hasPrefix("juliet") == true })
        try juliet.expectNo("presence")
        #expect(try juliet.ask(server, "get", "<query xmlns='jabber:iq:roster'/>") == before)
        await server.stop()
    }

    @Test func `each request of a blocked contact is refused, whatever is asked and wherever`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        try juliet.block(server, "romeo@example.org")
        romeo.inbox = []
        juliet.inbox = []
        let routes = try await accountRoutes(of: server)
        #expect(routes.count >= 18)
        for (type, name, namespace) in routes {
            let payload = "<\(name) xmlns='\(namespace)'/>"
            for address in ["juliet@example.org", "juliet@example.org/balcony", "juliet@example.org/absent"] {
                // What is refused to the client before it leaves is refused to everybody alike.
                let isOwn = namespace == "jabber:iq:roster" && address == "juliet@example.org"
                #expect(
                    romeo.refusal(server, type, payload, to: address) == (isOwn ? "forbidden" : "service-unavailable"),
                    "\(type) \(name) \(namespace) at \(address)")
            }
        }
        try juliet.expectNo("iq")
        // Answers that nobody asked for, with every payload there is, are nobody's (BUGS-NEXT C10).
        for type in ["result", "error"] {
            for (_, name, namespace) in routes {
                say(
                    romeo,
                    "<iq type='\(type)' id='r' to='juliet@example.org/balcony'><\(name) xmlns='\(namespace)'/></iq>",
                    server)
                say(juliet, "<iq type='\(type)' id='r'><\(name) xmlns='\(namespace)'/></iq>", server)
                say(juliet, "<iq type='\(type)' id='r' to='example.org'><\(name) xmlns='\(namespace)'/></iq>", server)
            }
        }
        #expect(juliet.inbox.isEmpty && romeo.inbox.isEmpty)
        #expect(romeo.phase == .ready && juliet.phase == .ready)
        await server.stop()
    }

    /// Every request that some module answers for accounts, as `martlet modules --pipeline` lists them.
    private func accountRoutes(of server: TestServer) async throws -> [(type: String, name: String, namespace: String)]
    {
        let running = server.server
        let output = await server.pump {
            try? await running.run("modules", CommandInput(arguments: ["pipeline": "true"]))
        }
        guard case .text(let text) = output else { throw Refusal("no pipeline") }
        return text.split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard words.count > 6, words[0] == "iq", words[4] == "at",
                words[5..<words.count].prefix(while: { $0 != "from" }).contains("account")
            else { return nil }
            return (String(words[1]), String(words[2]), String(words[3].dropFirst().dropLast()))
        }
    }

    @Test func `rooms are blocked as a whole or by occupant, in silence (BUGS-NEXT C6, C11)`() async throws {
        // Accounts play the rooms: to the one who blocks they are addresses like others.
        let server = try await TestServer(standardModules, accounts: ["juliet", "room", "hall"])
        let juliet = try server.login("juliet@example.org/balcony")
        let occupants = try ["room@example.org/tybalt", "room@example.org/paris", "hall@example.org/x"].map {
            try server.login($0)
        }
        try juliet.block(server, "room@example.org/tybalt", "hall@example.org")
        juliet.inbox = []
        for occupant in occupants {
            occupant.inbox = []
            say(occupant, message(to: "juliet@example.org/balcony", occupant.resource, type: "groupchat"), server)
            say(occupant, message(to: "juliet@example.org/balcony", "pm of \(occupant.resource)"), server)
        }
        #expect(juliet.takeBodies() == ["paris", "pm of paris"])
        #expect(occupants.map { $0.takeErrors() } == [["service-unavailable"], [], ["service-unavailable"]])
        await server.stop()
    }

    @Test func `what waited when its sender was blocked is not delivered any more`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let mercutio = try server.login("mercutio@example.org/square")
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        for number in 0..<3 {
            say(romeo, message(to: "juliet@example.org", "romeo \(number)"), server)
            say(mercutio, message(to: "juliet@example.org", "mercutio \(number)"), server)
        }
        try juliet.block(server, "romeo@example.org")
        say(juliet, "<presence/>", server)
        #expect(juliet.takeBodies() == ["mercutio 0", "mercutio 1", "mercutio 2"])
        juliet.end()
        server.settle()
        // They are gone, and not in the way of others.
        say(mercutio, message(to: "juliet@example.org", "later"), server)
        let again = try server.login("juliet@example.org/chamber")
        #expect(again.takeBodies() == ["later"])
        await server.stop()
    }

}

extension TestClient {
    private static func items(_ addresses: [String]) -> String { addresses.map { "<item jid='\($0)'/>" }.joined() }

    func block(_ server: TestServer, _ addresses: String...) throws {
        try ask(server, "set", "<block xmlns='urn:xmpp:blocking'>\(Self.items(addresses))</block>")
    }

    func unblock(_ server: TestServer, _ addresses: String...) throws {
        try ask(server, "set", "<unblock xmlns='urn:xmpp:blocking'>\(Self.items(addresses))</unblock>")
    }

    func blocklist(_ server: TestServer) throws -> [String] {
        let list = try ask(server, "get", "<blocklist xmlns='urn:xmpp:blocking'/>")
        return list?.elements.compactMap { $0[attribute: "jid"] } ?? []
    }

    func expectNoBlockingPush() throws {
        guard inbox.contains(where: { $0.elements.first?.namespace == "urn:xmpp:blocking" }) else { return }
        throw Refusal("a push: \(inbox)")
    }

    /// The conditions of all errors in the inbox, which is emptied.
    func takeErrors() -> [String] {
        defer { inbox = [] }
        return inbox.compactMap { $0.first("error", .client)?.elements.first?.name }
    }

    /// Type and sender of all presences in the inbox, which are taken out; in no order.
    func presences() -> [String] {
        let found = inbox.filter { $0.name == "presence" }
        inbox.removeAll { $0.name == "presence" }
        return found.map { "\($0[attribute: "type"] ?? "available") \($0[attribute: "from"] ?? "")" }.sorted()
    }
}

/// Romeo and Juliet as contacts, both available and with empty inboxes.
func contactPair(
    _ server: TestServer, befriended: Bool = true
) throws -> (romeo: TestClient, juliet: TestClient) {
    let pair = (try server.login("romeo@example.org/orchard"), try server.login("juliet@example.org/balcony"))
    if befriended { server.befriend(pair.0, pair.1) }
    pair.0.inbox = []
    pair.1.inbox = []
    return pair
}
