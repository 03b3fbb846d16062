import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// XEP-0016 with the rules behind it.
@Suite struct PrivacyTests {
    private func pair(_ server: TestServer) throws -> (romeo: TestClient, juliet: TestClient) {
        let pair = (try server.login("romeo@example.org/orchard"), try server.login("juliet@example.org/balcony"))
        server.befriend(pair.0, pair.1)
        return pair
    }

    // MARK: Lists

    private static let items = """
        <item type='jid' value='tybalt@example.com' action='deny' order='3'/>\
        <item type='subscription' value='both' action='allow' order='5'><message/><iq/></item>\
        <item action='deny' order='68'><presence-in/><presence-out/></item>
        """

    @Test func `a list comes back as it was set, in its order, and every client hears of it`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        let chamber = try server.login("juliet@example.org/chamber", priority: nil)
        juliet.inbox = []
        #expect(try juliet.ask(server, "get", "<query xmlns='jabber:iq:privacy'/>")?.elements == [])
        try juliet.setList(
            server, "public",
            "<item action='deny' order='68'><presence-out/><presence-in/></item>"
                + "<item type='subscription' value='both' action='allow' order='5'><iq/><message/></item>"
                + "<item type='jid' value='Tybalt@example.com' action='deny' order='3'/>")
        let push =
            "<iq type='set' from='juliet@example.org'><query xmlns='jabber:iq:privacy'><list name='public'/></query></iq>"
        try juliet.expect(push)
        try chamber.expect(push)
        let list = try #require(try juliet.list(server, "public"))
        let wanted = Element("list", "jabber:iq:privacy", ["name": "public"]).with(Self.items)
        #expect(list.matches(wanted), "\(list)")
        #expect(juliet.refusal(server, "get", Self.query("<list name='other'/>")) == "item-not-found")
        #expect(juliet.refusal(server, "get", Self.query("<list name='public'/><list name='x'/>")) == "bad-request")
        #expect(juliet.refusal(server, "get", Self.query("<list/>")) == "bad-request")
        #expect(juliet.refusal(server, "get", Self.query("<active/>")) == "bad-request")
        await server.stop()
    }

    private static func query(_ content: String) -> String { "<query xmlns='jabber:iq:privacy'>\(content)</query>" }

    @Test func `names come with the session's own list and the account's choice`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        for name in ["public", "private", "special"] {
            try juliet.setList(server, name, "<item action='allow' order='1'/>")
        }
        try juliet.ask(server, "set", Self.query("<default name='public'/>"))
        try juliet.ask(server, "set", Self.query("<active name='private'/>"))
        let chamber = try server.login("juliet@example.org/chamber")
        func names(_ client: TestClient) throws -> [String] {
            try client.ask(server, "get", Self.query(""))?.elements.map { "\($0.name) \($0[attribute: "name"] ?? "")" }
                ?? []
        }
        let lists = ["list private", "list public", "list special"]
        #expect(try names(juliet) == ["active private", "default public"] + lists)
        #expect(try names(chamber) == ["default public"] + lists)
        try juliet.ask(server, "set", Self.query("<active/>"))
        #expect(try names(juliet) == ["default public"] + lists)
        // What the session has chosen survives a reload and a lost connection, and ends with it.
        try juliet.ask(server, "set", Self.query("<active name='special'/>"))
        try await server.reload(
            standardModules.map {
                ModuleConfig(name: $0.info.name, node: $0.info.name == "privacy" ? options(["lists": "30"]) : .empty)
            })
        #expect(try names(juliet) == ["active special", "default public"] + lists)
        let again = try await TestServer(standardModules, memory: server.crash())
        let fresh = try again.login("juliet@example.org/balcony")
        let found = try fresh.ask(again, "get", Self.query(""))?.elements.map { $0.name } ?? []
        #expect(found == ["default", "list", "list", "list"])
        await again.stop()
    }

    @Test func `wrong requests are refused, and change nothing`() async throws {
        let server = try await TestServer(
            standardModules, config: ["privacy": options(["lists": "2", "items": "10", "bytes": "4KiB"])])
        let (_, juliet) = try pair(server)
        try juliet.ask(
            server, "set",
            "<query xmlns='jabber:iq:roster'><item jid='romeo@example.org'><group>Friends</group></item></query>")
        func refusal(_ content: String) -> String? { juliet.refusal(server, "set", Self.query(content)) }
        func item(_ attributes: String, _ content: String = "") -> String? {
            refusal("<list name='l'><item \(attributes)>\(content)</item></list>")
        }
        #expect(refusal("") == "bad-request")
        #expect(refusal("<active name='l'/><default name='l'/>") == "bad-request")
        #expect(refusal("<list><item action='deny' order='1'/></list>") == "bad-request")
        #expect(refusal("<other name='l'/>") == "bad-request")
        #expect(refusal("<list name='l'><other/></list>") == "bad-request")
        #expect(item("order='1'") == "bad-request")
        #expect(item("action='drop' order='1'") == "bad-request")
        for order in ["", "-1", "x", "1.0", "4294967296", " 1"] {
            #expect(item("action='deny' order='\(order)'") == "bad-request", "\(order)")
        }
        #expect(item("action='deny'") == "bad-request")
        #expect(item("action='deny' order='1' type='jid'") == "bad-request")
        #expect(item("action='deny' order='1' type='jid' value='a@@b'") == "jid-malformed")
        #expect(item("action='deny' order='1' type='jid' value=''") == "jid-malformed")
        #expect(item("action='deny' order='1' type='subscription' value='any'") == "bad-request")
        #expect(item("action='deny' order='1' type='group' value='Enemies'") == "item-not-found")
        #expect(item("action='deny' order='1' type='other' value='x'") == "bad-request")
        #expect(item("action='deny' order='1'", "<presence/>") == "bad-request")
        #expect(item("action='deny' order='1'", "<iq xmlns='jabber:client'/>") == "bad-request")
        #expect(
            refusal("<list name='l'><item action='deny' order='1'/><item action='allow' order='1'/></list>")
                == "bad-request")
        #expect(
            refusal("<list name='\(String(repeating: "n", count: 256))'><item action='deny' order='1'/></list>")
                == "not-acceptable")
        #expect(refusal("<list name='l'/>") == "item-not-found")
        #expect(refusal("<active name='l'/>") == "item-not-found")
        #expect(refusal("<default name='l'/>") == "item-not-found")
        let many = (0..<11).map { "<item action='deny' order='\($0)'/>" }
        #expect(refusal("<list name='l'>\(many.joined())</list>") == "resource-constraint")
        let long = "<item type='jid' value='\(String(repeating: "a", count: 1000))@b' action='deny' order='"
        #expect(
            refusal("<list name='l'>\((0..<5).map { "\(long)\($0)'/>" }.joined())</list>") == "resource-constraint")
        #expect(try juliet.ask(server, "get", Self.query(""))?.elements == [])
        #expect(item("action='deny' order='1' type='group' value='Friends'") == nil)
        #expect(refusal("<list name='m'><item action='allow' order='0'/></list>") == nil)
        #expect(refusal("<list name='n'><item action='allow' order='0'/></list>") == "resource-constraint")
        #expect(refusal("<list name='m'><item action='allow' order='4294967295'/></list>") == nil)
        #expect(juliet.refusal(server, "get", Self.query(""), to: "romeo@example.org") == "service-unavailable")
        await server.stop()
    }

    @Test func `a list that others use cannot go, and the default that holds for others stays`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        let chamber = try server.login("juliet@example.org/chamber")
        func refusal(_ client: TestClient, _ content: String) -> String? {
            client.refusal(server, "set", Self.query(content))
        }
        for name in ["a", "b"] { try juliet.setList(server, name, "<item action='allow' order='1'/>") }
        // Nothing holds for the chamber yet.
        #expect(refusal(juliet, "<default name='a'/>") == nil)
        #expect(refusal(juliet, "<default name='a'/>") == nil)
        #expect(refusal(juliet, "<default name='b'/>") == "conflict")
        #expect(refusal(juliet, "<default/>") == "conflict")
        #expect(refusal(juliet, "<list name='a'/>") == "conflict")
        #expect(refusal(chamber, "<active name='b'/>") == nil)
        #expect(refusal(juliet, "<list name='b'/>") == "conflict")
        #expect(refusal(juliet, "<default name='b'/>") == nil)
        #expect(refusal(juliet, "<list name='a'/>") == nil)
        // The one who uses it may remove it, and is then held to the default.
        #expect(refusal(juliet, "<active name='b'/>") == nil)
        #expect(refusal(chamber, "<list name='b'/>") == "conflict")
        juliet.end()
        server.settle()
        #expect(refusal(chamber, "<list name='b'/>") == nil)
        #expect(try chamber.ask(server, "get", Self.query(""))?.elements == [])
        await server.stop()
    }

    @Test func `two spellings of a name are two lists, also after a restart`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        try juliet.setList(server, "\u{E1}", "<item action='deny' order='1'/>")
        try juliet.setList(server, "a\u{301}", "<item action='allow' order='2'/>")
        let next = try await TestServer(standardModules, memory: server.crash())
        let again = try next.login("juliet@example.org/balcony")
        #expect(try again.ask(next, "get", Self.query(""))?.elements.count == 2)
        #expect(try again.list(next, "\u{E1}")?.elements.first?[attribute: "order"] == "1")
        #expect(try again.list(next, "a\u{301}")?.elements.first?[attribute: "order"] == "2")
        await next.stop()
    }

    // MARK: What they do

    @Test func `groups and subscriptions are those of the roster when a stanza comes`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        func isHeard() -> Bool {
            romeo.inbox = []
            juliet.inbox = []
            say(romeo, message(to: "juliet@example.org", "Hi"), server)
            return juliet.takeBodies() == ["Hi"] && romeo.takeErrors() == []
        }
        func put(in group: String) throws {
            try juliet.ask(
                server, "set",
                "<query xmlns='jabber:iq:roster'><item jid='romeo@example.org'><group>\(group)</group></item></query>")
        }
        try juliet.setList(
            server, "l", "<item type='subscription' value='none' action='deny' order='1'><message/></item>")
        try juliet.ask(server, "set", Self.query("<active name='l'/>"))
        #expect(!isHeard())
        server.befriend(romeo, juliet)
        #expect(isHeard())
        try put(in: "Enemies")
        try juliet.setList(server, "l", "<item type='group' value='Enemies' action='deny' order='1'/>")
        #expect(!isHeard())
        try put(in: "Friends")
        #expect(isHeard())
        try put(in: "Enemies")
        #expect(!isHeard())
        await server.stop()
    }

    @Test func `a kind that is denied is denied alone`() async throws {
        let kinds = ["message", "iq", "presence-in", "presence-out"]
        for denied in kinds {
            let server = try await TestServer(standardModules)
            let (romeo, juliet) = try pair(server)
            try juliet.setList(
                server, "l", "<item type='jid' value='romeo@example.org' action='deny' order='1'><\(denied)/></item>")
            try juliet.ask(server, "set", Self.query("<default name='l'/>"))
            romeo.inbox = []
            juliet.inbox = []
            say(romeo, message(to: "juliet@example.org", "Hi"), server)
            #expect(juliet.takeBodies().isEmpty == (denied == "message"))
            say(romeo, "<presence><show>away</show></presence>", server)
            #expect(juliet.presences().isEmpty == (denied == "presence-in"))
            say(juliet, "<presence><show>away</show></presence>", server)
            #expect(romeo.presences().isEmpty == (denied == "presence-out"))
            #expect(
                romeo.refusal(server, "get", "<query xmlns='jabber:iq:last'/>", to: "juliet@example.org")
                    == (denied == "iq" ? "service-unavailable" : nil))
            // What the account sends but presence is not refused by it.
            romeo.inbox = []
            say(juliet, message(to: "romeo@example.org", "Hi"), server)
            #expect(romeo.takeBodies() == ["Hi"])
            say(juliet, "<presence to='romeo@example.org' id='p'/>", server)
            #expect(juliet.takeErrors() == (denied == "presence-out" ? ["not-acceptable"] : []))
            await server.stop()
        }
    }

    @Test func `each session has its own list, and messages find one that takes them`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let open = try server.login("juliet@example.org/open", priority: 0)
        let shut = try server.login("juliet@example.org/shut", priority: 5)
        try open.setList(server, "none", "<item action='deny' order='1'><message/><presence-in/></item>")
        try shut.ask(server, "set", Self.query("<active name='none'/>"))
        for client in [romeo, open, shut] { client.inbox = [] }
        say(romeo, message(to: "juliet@example.org", "anyone"), server)
        say(romeo, message(to: "juliet@example.org", "all", type: "headline"), server)
        say(romeo, message(to: "juliet@example.org/shut", "you"), server)
        #expect(open.takeBodies() == ["anyone", "all"])
        #expect(shut.takeBodies() == [])
        #expect(romeo.takeErrors() == ["service-unavailable"])
        // Nobody is left that takes any: refused, and not kept either.
        open.end()
        server.settle()
        say(romeo, message(to: "juliet@example.org", "nobody"), server)
        #expect(romeo.takeErrors() == ["service-unavailable"])
        // No session at all: the account's own choice holds, and there is none.
        shut.end()
        server.settle()
        say(romeo, message(to: "juliet@example.org", "later"), server)
        #expect(romeo.takeErrors() == [])
        let again = try server.login("juliet@example.org/open")
        #expect(again.takeBodies() == ["later"])
        await server.stop()
    }

    @Test func `a session may hear whom the account's choice refuses (XEP-0191 §5)`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        let chamber = try server.login("juliet@example.org/chamber", priority: 5)
        try juliet.block(server, "romeo@example.org")
        try juliet.setList(server, "all", "<item action='allow' order='1'/>")
        for client in [romeo, juliet, chamber] { client.inbox = [] }
        try juliet.ask(server, "set", Self.query("<active name='all'/>"))
        #expect(romeo.presences() == ["available juliet@example.org/balcony"])
        #expect(juliet.presences() == ["available romeo@example.org/orchard"])
        say(romeo, message(to: "juliet@example.org", "Hi"), server)
        say(romeo, "<presence><show>away</show></presence>", server)
        #expect(juliet.takeBodies() == ["Hi"])
        #expect(juliet.presences() == ["available romeo@example.org/orchard"])
        #expect(chamber.takeBodies() == [] && chamber.presences() == [])
        say(juliet, message(to: "romeo@example.org", "Hello"), server)
        say(chamber, message(to: "romeo@example.org", "Hello"), server)
        #expect(romeo.takeBodies() == ["Hello"])
        #expect(chamber.takeErrors() == ["not-acceptable"])
        // To the blocklist nothing has changed.
        #expect(try juliet.blocklist(server) == ["romeo@example.org"])
        await server.stop()
    }

    @Test func `both protocols show the same truth (XEP-0191 §5)`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        _ = try juliet.blocklist(server)
        try juliet.block(server, "romeo@example.net", "tybalt@example.net")
        let names = try juliet.ask(server, "get", Self.query(""))?.elements ?? []
        #expect(names.map { $0.name } == ["default", "list"])
        let name = try #require(names.first?[attribute: "name"])
        let list = try #require(try juliet.list(server, name))
        #expect(list.elements.compactMap { $0[attribute: "value"] } == ["romeo@example.net", "tybalt@example.net"])
        juliet.inbox = []
        // One goes, one comes, one is let through first: all of it shows in the blocklist.
        try juliet.setList(
            server, name,
            """
            <item type='jid' value='paris@example.net' action='allow' order='1'/>\
            <item type='jid' value='paris@example.net' action='deny' order='2'/>\
            <item type='jid' value='tybalt@example.net' action='deny' order='3'/>\
            <item type='jid' value='iago@example.net' action='deny' order='4'/>\
            <item type='jid' value='nurse@example.net' action='deny' order='5'><message/></item>
            """)
        #expect(try juliet.blocklist(server) == ["tybalt@example.net", "iago@example.net"])
        let pushes = juliet.inbox.compactMap { $0.elements.first }.filter { $0.namespace == "urn:xmpp:blocking" }
        #expect(pushes.map { $0.name } == ["unblock", "block"])
        #expect(pushes.map { $0.elements.first?[attribute: "jid"] } == ["romeo@example.net", "iago@example.net"])
        try juliet.unblock(server)
        let rest = try juliet.list(server, name)?.elements ?? []
        #expect(rest.map { $0[attribute: "value"] } == ["paris@example.net", "nurse@example.net"])
        try juliet.block(server, "paris@example.net")
        #expect(try juliet.blocklist(server) == ["paris@example.net"])
        // Another list, another blocklist.
        try juliet.setList(server, "other", "<item type='jid' value='nurse@example.net' action='deny' order='0'/>")
        try juliet.ask(server, "set", Self.query("<default name='other'/>"))
        #expect(try juliet.blocklist(server) == ["nurse@example.net"])
        try juliet.ask(server, "set", Self.query("<default/>"))
        #expect(try juliet.blocklist(server) == [])
        await server.stop()
    }

    @Test func `an edit of a list in use shows at once in what contacts see`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        func edit(_ kind: String?) throws {
            romeo.inbox = []
            juliet.inbox = []
            let item =
                kind.map { "<item action='deny' order='1'><\($0)/></item>" } ?? "<item action='allow' order='1'/>"
            try juliet.setList(server, "l", item)
        }
        try edit(nil)
        try juliet.ask(server, "set", Self.query("<active name='l'/>"))
        #expect(romeo.presences() == [] && juliet.presences() == [])
        try edit("presence-out")
        #expect(romeo.presences() == ["unavailable juliet@example.org/balcony"])
        try edit("presence-in")
        #expect(romeo.presences() == ["available juliet@example.org/balcony"])
        #expect(juliet.presences() == ["unavailable romeo@example.org"])
        try edit(nil)
        #expect(juliet.presences() == ["available romeo@example.org/orchard"])
        await server.stop()
    }

    @Test func `who reads messages one by one is shown none that his list refuses`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        say(romeo, message(to: "juliet@example.org", "Hi"), server)
        try juliet.block(server, "romeo@example.org")
        juliet.inbox = []
        _ = try? juliet.ask(server, "get", "<offline xmlns='http://jabber.org/protocol/offline'><fetch/></offline>")
        #expect(juliet.takeBodies() == [])
        await server.stop()
    }
}

extension TestClient {
    func setList(_ server: TestServer, _ name: String, _ items: String) throws {
        try ask(server, "set", "<query xmlns='jabber:iq:privacy'><list name='\(name)'>\(items)</list></query>")
    }

    func list(_ server: TestServer, _ name: String) throws -> Element? {
        try ask(server, "get", "<query xmlns='jabber:iq:privacy'><list name='\(name)'/></query>")?.elements.first
    }
}

extension Element {
    fileprivate func with(_ content: String) -> Element {
        let text = "<x xmlns='\(namespace)'>\(content)</x>"
        var element = self
        for child in (try? XMLTree(parsing: text))?.root.element.elements ?? [] { element.append(child) }
        return element
    }
}
