import ModuleKit
import ModuleTesting
import Roster
import Testing
import XMPPServer

@Suite struct RosterTests {
    private static let get = "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>"

    private func set(_ item: String, id: String = "s") -> String {
        "<iq type='set' id='\(id)'><query xmlns='jabber:iq:roster'>\(item)</query></iq>"
    }

    @Test func `an item is stored, pushed to who asked for the roster, and there after a restart`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(Self.get)
        server.settle()
        try romeo.expect("<iq type='result' id='g'><query xmlns='jabber:iq:roster'/></iq>")
        romeo.send(set("<item jid='juliet@example.org' name='Juliet'><group>Friends</group></item>"))
        server.settle()
        let kinds = romeo.inbox.compactMap { $0[attribute: "type"] }
        #expect(kinds.sorted() == ["result", "set"])
        let next = try await TestServer(standardModules, memory: await server.stop())
        let again = try next.login("romeo@example.org/orchard")
        again.send(Self.get)
        next.settle()
        try again.expect(
            """
            <iq type='result' id='g'><query xmlns='jabber:iq:roster'><item jid='juliet@example.org' name='Juliet'
            subscription='none'><group>Friends</group></item></query></iq>
            """)
        await next.stop()
    }

    @Test func `a change that is not on disk is answered with an error and not shown`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.storage.set(.failing)
        romeo.send(set("<item jid='juliet@example.org'/>"))
        server.settle()
        #expect(romeo.inbox.compactMap { $0[attribute: "type"] } == ["error"])
        server.storage.set(.none)
        romeo.inbox = []
        romeo.send(Self.get)
        server.settle()
        try romeo.expect("<iq type='result' id='g'><query xmlns='jabber:iq:roster'/></iq>")
        await server.stop()
    }

    @Test(arguments: [
        "<item jid='romeo@example.org'/>", "<item jid='@'/>", "<item/>", "", "<item jid='a@example.org/desk'/>",
        "<item jid='a@example.org'/><item jid='b@example.org'/>",
        "<item jid='a@example.org'><group>x</group><group>x</group></item>",
        "<item jid='a@example.org' subscription='remove'/>",
    ])
    func `nonsense is refused`(_ item: String) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(set(item))
        server.settle()
        #expect(romeo.inbox.compactMap { $0[attribute: "type"] } == ["error"])
        await server.stop()
    }

    @Test func `a get that brings items is refused`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let get = "<query xmlns='jabber:iq:roster'><item jid='juliet@example.org'/></query>"
        #expect(romeo.refusal(server, "get", get) == "bad-request")
        await server.stop()
    }

    @Test func `nobody may read another's roster`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send("<iq type='get' id='g' to='juliet@example.org'><query xmlns='jabber:iq:roster'/></iq>")
        server.settle()
        try romeo.expect(
            """
            <iq type='error' id='g'><error type='auth'><forbidden
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
            """)
        await server.stop()
    }

    /// RFC 6121 §2.3.3 for the account; §8.5.3 for a client, which answers for itself.
    @Test(arguments: ["get", "set"])
    func `a roster request to somebody else's client is unavailable where there is none, and the client's where it is`(
        _ type: String
    ) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        let query = "<query xmlns='jabber:iq:roster'/>"
        for address in ["juliet@example.org/chamber", "mercutio@example.org/street", "nobody@example.org/x"] {
            #expect(romeo.refusal(server, type, query, to: address) == "service-unavailable", "\(address)")
        }
        for address in ["juliet@example.org", "mercutio@example.org", "nobody@example.org"] {
            #expect(romeo.refusal(server, type, query, to: address) == "forbidden", "\(address)")
        }
        #expect(juliet.inbox.isEmpty)
        romeo.send("<iq type='\(type)' id='r' to='juliet@example.org/balcony'>\(query)</iq>")
        server.settle()
        try juliet.expect("<iq type='\(type)' id='r' from='romeo@example.org/orchard'>\(query)</iq>")
        juliet.send("<iq type='result' id='r' to='romeo@example.org/orchard'/>")
        server.settle()
        try romeo.expect("<iq type='result' id='r' from='juliet@example.org/balcony'/>")
        await server.stop()
    }

    @Test func `a reload that brings the roster reads it for who is there already`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        try romeo.ask(server, "set", "<query xmlns='jabber:iq:roster'><item jid='juliet@example.org'/></query>")
        // As if it had started without.
        let next = try await TestServer(standardModules, memory: server.crash()) { config in
            for index in config.hosts.indices {
                config.hosts[index].modules.removeAll { !["messages", "disco"].contains($0.name) }
            }
        }
        let again = try next.login("romeo@example.org/orchard", priority: nil)
        let get = "<query xmlns='jabber:iq:roster'/>"
        #expect(again.refusal(next, "get", get) == "service-unavailable")
        try await next.reload(standardModules.map { ModuleConfig(name: $0.info.name) })
        next.settle()
        let contacts = { try again.ask(next, "get", get)?.elements.map { $0[attribute: "jid"] } }
        #expect(try contacts() == ["juliet@example.org"])
        try again.ask(next, "set", "<query xmlns='jabber:iq:roster'><item jid='mercutio@example.org'/></query>")
        // What is in memory stays when there is nothing to be read.
        try await next.reload(
            standardModules.map {
                ModuleConfig(name: $0.info.name, node: $0 == RosterModule.self ? options(["limit": "20"]) : .empty)
            })
        #expect(try Set(#require(try contacts())) == ["juliet@example.org", "mercutio@example.org"])
        await next.stop()
    }

    @Test func `a reload that brings the roster to a disk that fails leaves everything else as it was`() async throws {
        let server = try await TestServer(standardModules) { config in
            for index in config.hosts.indices {
                config.hosts[index].modules.removeAll { !["messages", "disco"].contains($0.name) }
            }
        }
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        server.storage.failReads(.failed("dying"))
        try await server.reload(standardModules.map { ModuleConfig(name: $0.info.name) })
        server.settle()
        #expect(romeo.refusal(server, "get", "<query xmlns='jabber:iq:roster'/>") == "item-not-found")
        #expect(romeo.refusal(server, "get", "<ping xmlns='urn:xmpp:ping'/>") == nil)
        await server.stop()
    }
}
