import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// XEP-0478.
@Suite struct StreamLimitsTests {
    private static let namespace: Namespace = "urn:xmpp:stream-limits:0"

    private func told(_ client: TestClient) -> [String] {
        let limits = client.offered?.elements.filter { $0.isNamed("limits", Self.namespace) } ?? []
        return limits.flatMap(\.elements).map { "\($0.name) \($0.text)" }
    }

    @Test func `a stream tells what it takes before authentication, and what it takes afterwards`() async throws {
        let server = try await TestServer([]) { config in
            config.limits.unauthenticated.elements.bytes = 12_345
            config.limits.authenticated.elements.bytes = 54_321
        }
        var options = TestClient.Options()
        options.staysOutside = true
        let outside = server.client("romeo@example.org/orchard", options)
        outside.logIn()
        server.settle()
        #expect(told(outside) == ["max-bytes 12345"])
        let inside = try server.login("romeo@example.org/orchard")
        #expect(told(inside) == ["max-bytes 54321"])
        await server.stop()
    }

    @Test func `the time of silence is told where something is done about it`() async throws {
        let server = try await TestServer([SilenceModule.self]) { $0.limits.authenticated.idle = .seconds(90) }
        // The module's 60 seconds come first.
        #expect(told(try server.login("romeo@example.org/orchard")).last == "idle-seconds 60")
        try await server.reload([]) { $0.limits.authenticated.idle = .seconds(90) }
        #expect(told(try server.login("romeo@example.org/orchard")).last == "idle-seconds 90")
        try await server.reload([])
        #expect(told(try server.login("romeo@example.org/orchard")) == ["max-bytes 262144"])
        await server.stop()
    }
}
