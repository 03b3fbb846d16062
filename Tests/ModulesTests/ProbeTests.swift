import ModuleKit
import ModuleTesting
import Testing

/// RFC 6121 §4.3 and §4.6: who asks whether somebody is there, and what directed presence allows to know.
@Suite struct ProbeTests {
    private static let gone = "<presence from='juliet@example.org/balcony' type='unavailable'/>"

    private func pair(_ server: TestServer) throws -> (romeo: TestClient, juliet: TestClient) {
        let pair = (try server.login("romeo@example.org/orchard"), try server.login("juliet@example.org/balcony"))
        pair.0.inbox = []
        pair.1.inbox = []
        return pair
    }

    @Test func `a client that asks hears of a contact what the server would`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        server.befriend(romeo, juliet)
        say(juliet, "<presence id='p1'><show>away</show></presence>", server)
        romeo.inbox = []
        say(romeo, "<presence to='juliet@example.org' type='probe' id='q'/>", server)
        try romeo.expect("<presence from='juliet@example.org/balcony' id='p1'><show>away</show></presence>")
        say(romeo, "<presence to='juliet@example.org/balcony' type='probe'/>", server)
        try romeo.expect("<presence from='juliet@example.org/balcony'/>")
        try romeo.expectNo("presence")
        await server.stop()
    }

    @Test func `directed presence allows to ask for that resource and for no more`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        _ = try server.login("juliet@example.org/chamber")
        say(juliet, "<presence><show>dnd</show></presence>", server)
        say(juliet, "<presence to='romeo@example.org/orchard'/>", server)
        romeo.inbox = []
        say(romeo, "<presence to='juliet@example.org/balcony' type='probe'/>", server)
        try romeo.expect("<presence from='juliet@example.org/balcony'/>")
        say(romeo, "<presence to='juliet@example.org/chamber' type='probe'/>", server)
        say(romeo, "<presence to='juliet@example.org/nowhere' type='probe'/>", server)
        say(juliet, "<presence to='romeo@example.org/orchard' type='unavailable'/>", server)
        try romeo.expect(Self.gone)
        say(romeo, "<presence to='juliet@example.org/balcony' type='probe'/>", server)
        try romeo.expectNo("presence")
        await server.stop()
    }

    @Test func `whoever was never available can take directed presence back by saying so`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        say(juliet, "<presence to='romeo@example.org/orchard'/>", server)
        romeo.inbox = []
        say(juliet, "<presence type='unavailable'/>", server)
        try romeo.expect(Self.gone)
        juliet.end()
        server.settle()
        try romeo.expectNo("presence")
        await server.stop()
    }

    /// Juliet goes, and romeo does not hear of it.
    private func goesUnheard(_ juliet: TestClient, _ romeo: TestClient, _ server: TestServer) async throws {
        romeo.inbox = []
        juliet.end()
        server.settle()
        try romeo.expectNo("presence")
        await server.stop()
    }

    @Test func `whoever has gone is not told the end of directed presence`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        say(juliet, "<presence to='romeo@example.org/orchard'/>", server)
        say(romeo, "<presence to='juliet@example.org/balcony' type='unavailable'/>", server)
        try await goesUnheard(juliet, romeo, server)
    }

    @Test func `a cancelled subscription takes directed presence with it`() async throws {
        let server = try await TestServer(standardModules)
        let (romeo, juliet) = try pair(server)
        server.befriend(romeo, juliet)
        say(juliet, "<presence to='romeo@example.org'/>", server)
        say(juliet, "<presence to='romeo@example.org' type='unsubscribed'/>", server)
        try await goesUnheard(juliet, romeo, server)
    }

    @Test func `a request that cannot be sent on comes back to who shows a roster`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        let phone = try server.login("romeo@example.org/phone", priority: nil)
        say(romeo, "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>", server)
        say(romeo, "<presence to='juliet@elsewhere.example' type='subscribe' id='s1'/>", server)
        try romeo.expect(
            """
            <presence from='juliet@elsewhere.example' to='romeo@example.org' type='error' id='s1'><error type='cancel'>
            <remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>
            """)
        try phone.expectNo("presence")
        await server.stop()
    }
}
