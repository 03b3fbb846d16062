import Disco
import Messages
import ModuleKit
import ModuleTesting
import Ping
import Presence
import Roster
import Testing

@Suite struct DiscoTests {
    private func features(_ modules: [any Module.Type]) async throws -> Set<String> {
        let server = try await TestServer(modules)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send("<iq type='get' id='d' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
        server.settle()
        let answer = try romeo.expect(
            "<iq type='result' id='d'><query xmlns='http://jabber.org/protocol/disco#info'>…</query></iq>")
        await server.stop()
        let query = answer.first("query", .discoInfo)
        return Set((query?.elements ?? []).filter { $0.name == "feature" }.compactMap { $0[attribute: "var"] })
    }

    @Test func `what is advertised is what is installed`() async throws {
        let disco: Set<String> = ["http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"]
        #expect(try await features([DiscoModule.self]) == disco)
        #expect(try await features([DiscoModule.self, PingModule.self]) == disco.union(["urn:xmpp:ping"]))
        #expect(
            try await features(standardModules)
                == disco.union([
                    "urn:xmpp:ping", "jabber:iq:roster", "msgoffline", "http://jabber.org/protocol/offline",
                    "jabber:iq:version", "urn:xmpp:time", "jabber:iq:last", "jabber:iq:private", "vcard-temp",
                    "urn:xmpp:carbons:2", "urn:xmpp:carbons:rules:0", "urn:xmpp:blocking", "jabber:iq:privacy",
                    "urn:xmpp:reporting:1", "urn:xmpp:blocking", "jabber:iq:privacy",
                    "urn:xmpp:reporting:1",
                ]))
    }

    @Test func `a module's domain is an item of its host, and answers for itself`() async throws {
        let server = try await TestServer([DiscoModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send(
            "<iq type='get' id='d' to='example.org'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>")
        server.settle()
        try romeo.expect(
            """
            <iq type='result' id='d'><query xmlns='http://jabber.org/protocol/disco#items'><item
            jid='echo.example.org'/></query></iq>
            """)
        await server.stop()
    }

    @Test func `without the module nobody answers`() async throws {
        let server = try await TestServer([PingModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.send("<iq type='get' id='d' to='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
        server.settle()
        try romeo.expect(
            """
            <iq type='error' id='d'><error
            type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
            """)
        await server.stop()
    }
}
