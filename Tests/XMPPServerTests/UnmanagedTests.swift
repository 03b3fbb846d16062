import Messages
import ModuleKit
import ModuleTesting
import Offline
import Ping
import Presence
import Roster
import Testing

/// Stanzas sent before the client enabled stream management are no part of its count, and so of no resumption.
@Suite struct UnmanagedTests {
    @Test func `what the kernel had not taken of them is kept when the connection breaks`() async throws {
        let times = [("idle", "60s"), ("timeout", "10s")].map {
            ConfigEntry($0.0, ConfigNode(.scalar($0.1, quoted: false)))
        }
        let server = try await TestServer(
            [RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, PingModule.self],
            config: ["ping": ConfigNode(.map(times))])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        juliet.isReading = false
        romeo.send("<message to='juliet@example.org/balcony' type='chat' id='1'><body>Hi</body></message>")
        server.settle()
        juliet.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        server.settle()
        // It does not answer the ping, and its connection is cut.
        server.advance(by: .seconds(40))
        romeo.sendRaw(" ")
        server.advance(by: .seconds(35))
        #expect(await server.status("sessions_detached") == 1)
        romeo.requestAcknowledgement()
        server.settle()
        #expect(romeo.unacknowledged.isEmpty)
        server.advance(by: .seconds(1000))
        #expect(try server.login("juliet@example.org/later").takeBodies() == ["Hi"])
        await server.stop()
    }
}
