import Messages
import ModuleKit
import ModuleTesting
import Offline
import Presence
import Roster
import Testing

@Suite struct ServerMarksTests {
    private func told(_ marks: String) async throws -> [Element] {
        let server = try await TestServer([
            RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self,
        ])
        let juliet = try server.login("juliet@example.org/balcony")
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send("<message to='juliet@example.org' type='chat'><body>Hi</body>\(marks)</message>")
        server.settle()
        let message = try #require(juliet.inbox.first { $0.name == "message" })
        #expect(message.first("body", .client)?.text == "Hi")
        await server.stop()
        return message.elements.filter { $0.name != "body" }
    }

    @Test(arguments: [
        "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/>",
        "<delay xmlns='urn:xmpp:delay' from='EXAMPLE.org' stamp='2001-01-01T00:00:00Z'/>",
        "<delay xmlns='urn:xmpp:delay' from='example.org/spool' stamp='2001-01-01T00:00:00Z'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='1'/>",
        """
        <stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' \
        by='juliet@example.org' id='2'/><delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/>
        """,
    ]) func `what only the server may say is taken out of what a client says, all of it`(_ marks: String) async throws {
        #expect(try await told(marks).isEmpty)
    }

    @Test(arguments: [
        "<delay xmlns='urn:xmpp:delay' from='romeo@example.org/orchard' stamp='2001-01-01T00:00:00Z'/>",
        "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>",
        "<delay xmlns='urn:xmpp:delay' from='example.net' stamp='2001-01-01T00:00:00Z'/>",
        "<stanza-id xmlns='urn:xmpp:sid:0' by='room@rooms.example.net' id='1'/>",
        "<origin-id xmlns='urn:xmpp:sid:0' id='1'/>",
    ]) func `what a client may say goes through`(_ mark: String) async throws {
        #expect(try await told(mark).count == 1)
    }

    @Test func `a kept message has one stamp of the host, whatever its sender said`() async throws {
        let server = try await TestServer([
            RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self,
        ])
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(
            """
            <message to='juliet@example.org' type='chat'><body>Hi</body>\
            <delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/></message>
            """)
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        let message = try #require(juliet.inbox.first { $0.name == "message" })
        let stamps = message.elements.filter { $0.name == "delay" }.compactMap { $0[attribute: "stamp"] }
        #expect(stamps.count == 1)
        #expect(stamps.first?.hasPrefix("2001") == false)
        await server.stop()
    }
}
