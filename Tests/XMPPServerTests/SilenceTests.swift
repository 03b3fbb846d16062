import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// The point `idle`.
@Suite struct SilenceTests {
    private static func config(_ pairs: KeyValuePairs<String, String>) -> ConfigNode {
        ConfigNode(.map(pairs.map { ConfigEntry($0, ConfigNode(.scalar($1, quoted: false))) }))
    }

    /// The times of silence that the client was told of since the last call.
    private func told(_ client: TestClient) -> [String] {
        defer { client.inbox = [] }
        return client.inbox.compactMap { $0.first("silent", SilenceModule.namespace)?[attribute: "for"] }
    }

    @Test func `a client that is silent is told once, and again after it has spoken`() async throws {
        let server = try await TestServer([SilenceModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(59))
        #expect(told(romeo) == [])
        server.advance(by: .seconds(2))
        #expect(told(romeo) == ["60"])
        server.advance(by: .seconds(1000))
        #expect(told(romeo) == [])
        romeo.send("<presence/>")
        server.advance(by: .seconds(59))
        #expect(told(romeo) == [])
        server.advance(by: .seconds(62))
        #expect(told(romeo) == ["60"])
        await server.stop()
    }

    @Test func `a client that says something now and then is never told, even if it is white space`() async throws {
        let server = try await TestServer([SilenceModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        for _ in 0..<20 {
            server.advance(by: .seconds(50))
            romeo.sendRaw(" ")
        }
        server.settle()
        #expect(told(romeo) == [])
        await server.stop()
    }

    @Test func `each time that a module waits for is watched for itself`() async throws {
        let server = try await TestServer(
            [SilenceModule.self], config: ["silence": Self.config(["first": "30", "second": "100"])])
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(70))
        #expect(told(romeo) == ["30"])
        server.advance(by: .seconds(35))
        #expect(told(romeo) == ["100"])
        romeo.sendRaw(" ")
        server.advance(by: .seconds(61))
        #expect(told(romeo) == ["30"])
        await server.stop()
    }

    @Test func `a session without a connection is not silent, and is watched again when it is resumed`() async throws {
        let server = try await TestServer([SilenceModule.self])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.cut()
        server.advance(by: .seconds(200))
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready)
        #expect(told(romeo) == [])
        romeo.isReading = false
        server.advance(by: .seconds(130))
        romeo.isReading = true
        server.settle()
        #expect(told(romeo) == ["60"])
        await server.stop()
    }

    @Test func `a reload changes what is watched of the sessions that are there`() async throws {
        let server = try await TestServer([SilenceModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        try await server.reload([.init(name: "silence", node: Self.config(["first": "20"]))])
        server.advance(by: .seconds(21))
        #expect(told(romeo) == ["20"])
        try await server.reload([])
        romeo.sendRaw(" ")
        server.advance(by: .seconds(500))
        #expect(told(romeo) == [])
        try await server.reload([.init(name: "silence")])
        server.advance(by: .seconds(61))
        #expect(told(romeo) == ["60"])
        await server.stop()
    }
}
