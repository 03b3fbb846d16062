import ModuleKit
import ModuleTesting
import Testing

/// Elements below a bound stream that are no stanzas.
@Suite struct OutOfPlaceTests {
    @Test func `TLS is not begun on a bound stream`() async throws {
        let server = try await TestServer([])
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.sendRaw("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        server.settle()
        #expect(romeo.phase == .offline)
        #expect(romeo.errors == [Element("failure", .tls)], "RFC 6120 §5.4.2.2")
        await server.stop()
    }

    @Test(arguments: [
        ("<message xmlns='jabber:server' to='juliet@example.org'/>", "invalid-namespace"),
        ("<iq xmlns='jabber:component:accept' type='get' id='1'/>", "invalid-namespace"),
        ("<message xmlns='urn:example:x' to='juliet@example.org'/>", "unsupported-stanza-type"),
        ("<pubsub/>", "unsupported-stanza-type"),
    ])
    func `what looks like a stanza and is none ends the stream`(_ element: String, _ condition: String) async throws {
        let server = try await TestServer([])
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.sendRaw(element)
        server.settle()
        #expect(romeo.phase == .offline)
        #expect(romeo.errors.first?.elements.map(\.name) == [condition])
        await server.stop()
    }
}
