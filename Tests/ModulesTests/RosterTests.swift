import ModuleKit
import ModuleTesting
import Testing

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
}
