import ModuleKit
import ModuleTesting
import StorageMemory
import Testing
import XMPPServer

/// What goes out to the blocked, and presence.
@Suite struct BlockedPresenceTests {
    // MARK: What goes out

    @Test func `what is sent to the blocked comes back as not-acceptable`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        try juliet.block(server, "romeo@example.org")
        romeo.inbox = []
        juliet.inbox = []
        let stanzas = [
            message(to: "romeo@example.org", "Hi"), message(to: "romeo@example.org/orchard", "Hi", type: "normal"),
            message(to: "romeo@example.org/orchard", "Hi", type: "groupchat"),
            message(to: "romeo@example.org", "Hi", type: "headline"),
            "<iq type='get' id='m' to='romeo@example.org/orchard'><ping xmlns='urn:xmpp:ping'/></iq>",
            "<iq type='get' id='m' to='romeo@example.org'><query xmlns='jabber:iq:roster'/></iq>",
            "<presence to='romeo@example.org' id='m'/>", "<presence to='romeo@example.org' type='subscribe' id='m'/>",
            "<presence to='romeo@example.org/orchard' type='subscribed' id='m'/>",
        ]
        for stanza in stanzas {
            say(juliet, stanza, server)
            let answer = try #require(juliet.inbox.first, "\(stanza)")
            juliet.inbox = []
            #expect(answer[attribute: "type"] == "error" && answer[attribute: "id"] == "m")
            #expect(answer[attribute: "from"]?.hasPrefix("romeo@example.org") == true)
            let error = answer.first("error", .client)
            #expect(error?[attribute: "type"] == "cancel")
            #expect(error?.first("not-acceptable", .stanzaErrors) != nil)
            #expect(error?.first("blocked", "urn:xmpp:blocking:errors") != nil)
        }
        for silent in [
            message(to: "romeo@example.org", "Hi", type: "error"),
            "<iq type='result' id='m' to='romeo@example.org/orchard'/>",
            "<presence to='romeo@example.org' type='unavailable'/>", "<presence to='romeo@example.org' type='probe'/>",
            "<presence to='romeo@example.org' type='error'/>",
        ] {
            say(juliet, silent, server)
            #expect(juliet.inbox.isEmpty, "\(silent)")
        }
        #expect(romeo.inbox.isEmpty)
        await server.stop()
    }

    @Test func `a request can be denied and a subscription given up while its contact is blocked (BUGS-NEXT C7)`()
        async throws
    {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        _ = try juliet.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        _ = try romeo.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        say(romeo, "<presence to='juliet@example.org' type='subscribe'/>", server)
        say(juliet, "<presence to='romeo@example.org' type='subscribe'/>", server)
        say(romeo, "<presence to='juliet@example.org' type='subscribed'/>", server)
        try juliet.block(server, "romeo@example.org")
        romeo.inbox = []
        juliet.inbox = []
        say(juliet, "<presence to='romeo@example.org' type='unsubscribed'/>", server)
        say(juliet, "<presence to='romeo@example.org' type='unsubscribe'/>", server)
        try romeo.expect("<presence type='unsubscribed' from='juliet@example.org'/>")
        try romeo.expect("<presence type='unsubscribe' from='juliet@example.org'/>")
        // Nothing of it tells whether she is there.
        try romeo.expectNo("presence")
        let roster = try juliet.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        #expect(roster?.elements.first?[attribute: "subscription"] == "none")
        // The request is denied: it is shown to nobody any more.
        let chamber = try server.login("juliet@example.org/chamber")
        #expect(!chamber.inbox.contains { $0[attribute: "type"] == "subscribe" })
        await server.stop()
    }

    @Test func `to remove a blocked contact tells it nothing but that`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        _ = try romeo.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        try juliet.block(server, "romeo@example.org")
        romeo.inbox = []
        try juliet.ask(
            server, "set",
            "<query xmlns='jabber:iq:roster'><item jid='romeo@example.org' subscription='remove'/></query>")
        let types = romeo.inbox.filter { $0.name == "presence" }.compactMap { $0[attribute: "type"] }
        #expect(types.sorted() == ["unsubscribe", "unsubscribed"])
        await server.stop()
    }

    // MARK: Presence

    @Test func `the blocked see the account go, and see it again when they are unblocked (BUGS-NEXT C7)`() async throws
    {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        let chamber = try server.login("juliet@example.org/chamber")
        let stranger = try server.login("mercutio@example.org/square")
        for client in [romeo, juliet, chamber, stranger] { client.inbox = [] }
        try juliet.block(server, "romeo@example.org", "mercutio@example.org")
        #expect(
            romeo.presences() == ["unavailable juliet@example.org/balcony", "unavailable juliet@example.org/chamber"])
        #expect(stranger.inbox.isEmpty)
        // To her clients he has gone.
        for client in [juliet, chamber] { #expect(client.presences() == ["unavailable romeo@example.org"]) }
        say(chamber, "<presence><show>away</show></presence>", server)
        say(romeo, "<presence><show>dnd</show></presence>", server)
        let garden = try server.login("juliet@example.org/garden")
        chamber.end()
        server.settle()
        #expect(romeo.presences() == [])
        #expect(!garden.presences().contains { $0.contains("romeo") })
        juliet.inbox = []
        try juliet.unblock(server, "romeo@example.org")
        #expect(romeo.presences() == ["available juliet@example.org/balcony", "available juliet@example.org/garden"])
        #expect(juliet.presences() == ["available romeo@example.org/orchard"])
        #expect(garden.presences() == ["available romeo@example.org/orchard"])
        #expect(stranger.inbox.isEmpty)
        say(romeo, message(to: "juliet@example.org/balcony", "again"), server)
        #expect(juliet.takeBodies() == ["again"])
        await server.stop()
    }

    @Test func `who was sent presence hears of the end when he is blocked, and may not ask any more`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server, befriended: false)
        say(juliet, "<presence to='romeo@example.org/orchard'/>", server)
        romeo.inbox = []
        try juliet.block(server, "romeo@example.org")
        #expect(romeo.presences() == ["unavailable juliet@example.org/balcony"])
        say(romeo, "<presence to='juliet@example.org/balcony' type='probe'/>", server)
        juliet.end()
        server.settle()
        #expect(romeo.presences() == [])
        await server.stop()
    }

    @Test func `a session that was never available is not shown by blocking`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        juliet.end()
        server.settle()
        romeo.inbox = []
        let quiet = try server.login("juliet@example.org/quiet", priority: nil)
        try quiet.block(server, "romeo@example.org")
        try quiet.unblock(server)
        #expect(romeo.inbox.isEmpty)
        await server.stop()
    }

    // MARK: Without the others

    @Test func `it works where nobody has a roster or privacy lists`() async throws {
        let modules = standardModules.filter { ["messages", "blocking"].contains($0.info.name) }
        let server = try await TestServer(modules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        try juliet.block(server, "romeo@example.org")
        say(romeo, message(to: "juliet@example.org/balcony", "Hi"), server)
        #expect(romeo.takeErrors() == ["service-unavailable"])
        try juliet.expectNo("iq")
        await server.stop()
    }

    @Test func `who has no account of his own has no blocklist`() async throws {
        let server = try await TestServer(standardModules) { config in
            for index in config.hosts.indices { config.hosts[index].auth.mechanisms.append(.anonymous) }
        }
        var options = TestClient.Options()
        options.mechanism = .anonymous
        let guest = server.client("guest@example.org/x", options)
        guest.logIn()
        server.settle()
        #expect(try guest.blocklist(server) == [])
        #expect(
            guest.refusal(server, "set", "<block xmlns='urn:xmpp:blocking'><item jid='a@b'/></block>") == "not-allowed")
        #expect(guest.refusal(server, "set", "<unblock xmlns='urn:xmpp:blocking'/>") == nil)
        await server.stop()
    }

    @Test func `blocks end with the module, and come back with it`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try contactPair(server)
        try juliet.block(server, "romeo@example.org")
        let all = standardModules.map { ModuleConfig(name: $0.info.name) }
        func isHeard(_ body: String) -> Bool {
            say(romeo, message(to: "juliet@example.org/balcony", body), server)
            return juliet.takeBodies() == [body]
        }
        #expect(!isHeard("1"))
        try await server.reload(all.filter { $0.name != "privacy" })
        #expect(!isHeard("2"))
        try await server.reload(all.filter { !["blocking", "reports"].contains($0.name) })
        #expect(!isHeard("3"))
        try await server.reload(all.filter { !["blocking", "reports", "privacy"].contains($0.name) })
        #expect(isHeard("4"))
        romeo.inbox = []
        say(juliet, "<presence><show>away</show></presence>", server)
        try romeo.expect("<presence from='juliet@example.org/balcony'><show>away</show></presence>")
        try await server.reload(all)
        #expect(!isHeard("5"))
        await server.stop()
    }

    @Test func `an account whose rules cannot be read lets nothing pass but its own`() async throws {
        let all = standardModules.map { ModuleConfig(name: $0.info.name) }
        let modules = standardModules
        let server = try await TestServer(modules)
        try await server.reload(all.filter { !["blocking", "reports", "privacy"].contains($0.name) })
        let (romeo, juliet) = try contactPair(server)
        let chamber = try server.login("juliet@example.org/chamber")
        server.storage.failReads(.failed("test"))
        try await server.reload(all)
        server.settle()
        server.storage.failReads(nil)
        for client in [romeo, juliet, chamber] { client.inbox = [] }
        say(romeo, message(to: "juliet@example.org/balcony", "in"), server)
        say(juliet, message(to: "mercutio@example.org", "out"), server)
        say(juliet, message(to: "juliet@example.org/chamber", "own"), server)
        #expect(chamber.takeBodies() == ["own"])
        // His own cannot be read either.
        #expect(romeo.takeErrors() == ["not-acceptable"])
        #expect(juliet.takeErrors() == ["not-acceptable"])
        try juliet.expectNo("message")
        await server.stop()
    }
}
