import Messages
import MetricsTestKit
import ModuleKit
import ModuleTesting
import Offline
import Presence
import Roster
import Testing
import XMPPServer

@Suite struct MetricsTests {
    @Test func `what the kernel and the modules count reaches the metrics backend, once`() async throws {
        let metrics = TestMetrics()
        let server = try await TestServer(
            [RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self], metrics: metrics)
        let romeo = try server.login("romeo@example.org/orchard")
        for index in 0..<3 {
            romeo.send(
                "<message to='juliet@example.org' type='chat' id='\(index)'><body>x</body></message>")
        }
        server.advance(by: .seconds(20))
        #expect(try metrics.expectCounter("martlet_offline_kept").totalValue == 3)
        let received = try metrics.expectCounter("martlet_stanzas_received").totalValue
        #expect(received >= 3)
        server.advance(by: .seconds(20))
        #expect(try metrics.expectCounter("martlet_stanzas_received").totalValue == received)
        #expect(await server.status("offline_kept") == 3)
        await server.stop()
    }

    @Test func `a reload loses no number`() async throws {
        let metrics = TestMetrics()
        let server = try await TestServer(
            [RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self], metrics: metrics)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send("<message to='juliet@example.org' type='chat' id='m'><body>x</body></message>")
        server.settle()
        try await server.reload([
            ModuleConfig(name: "roster"), ModuleConfig(name: "presence"), ModuleConfig(name: "messages"),
            ModuleConfig(
                name: "offline",
                node: ConfigNode(.map([ConfigEntry("limit", ConfigNode(.scalar("5", quoted: false)))]))),
        ])
        #expect(await server.status("offline_kept") == 1)
        server.advance(by: .seconds(20))
        #expect(try metrics.expectCounter("martlet_offline_kept").totalValue == 1)
        await server.stop()
    }
}
