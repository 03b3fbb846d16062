import ModuleKit
import ModuleTesting
import Ping
import Testing

@Suite struct PingTests {
    @Test func `the host answers a ping, and so does the own account`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for address in ["example.org", "romeo@example.org"] {
            romeo.send("<iq type='get' id='p' to='\(address)'><ping xmlns='urn:xmpp:ping'/></iq>")
            server.settle()
            try romeo.expect("<iq type='result' id='p' from='\(address)' to='romeo@example.org/orchard'/>")
        }
        await server.stop()
    }

    @Test func `strangers do not learn from a ping that an account is there`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        _ = try server.login("juliet@example.org/balcony")
        romeo.send("<iq type='get' id='p' to='juliet@example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
        server.settle()
        try romeo.expect(
            "<iq type='error' id='p'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        )
        await server.stop()
    }

    // MARK: Silent clients

    private let ping = "<iq type='get' id='*' from='romeo@example.org'><ping xmlns='urn:xmpp:ping'/></iq>"

    private func server() async throws -> TestServer {
        try await TestServer(standardModules, config: ["ping": options(["idle": "60s", "timeout": "10s"])])
    }

    @Test func `without the option silent clients are left alone`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .hours(24))
        try romeo.expectNo("iq")
        #expect(romeo.phase == .ready)
        await server.stop()
    }

    @Test(arguments: ["result", "error"])
    func `a silent client is pinged, and any answer proves that it is alive`(_ type: String) async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        for _ in 0..<3 {
            server.advance(by: .seconds(62))
            let id = try #require(romeo.expect(ping)[attribute: "id"])
            try romeo.expectNo("iq")
            romeo.send("<iq type='\(type)' id='\(id)'/>")
            server.settle()
        }
        #expect(romeo.phase == .ready)
        await server.stop()
    }

    @Test func `a client that says something else instead is alive as well`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(65))
        try romeo.expect(ping)
        romeo.sendRaw(" ")
        server.advance(by: .seconds(50))
        #expect(romeo.phase == .ready)
        await server.stop()
    }

    @Test func `a client that says nothing loses its connection, and with it the session`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(65))
        try romeo.expect(ping)
        server.advance(by: .seconds(10))
        #expect(romeo.errors.first?.elements.first?.name == "connection-timeout")
        #expect(romeo.phase == .offline)
        #expect(server.counts.sessions == 0)
        #expect(await server.status("ping_lost") == 1)
        await server.stop()
    }

    @Test func `a session that can be resumed waits for its client, with what it was sent`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.isReading = false
        server.advance(by: .seconds(75))
        #expect(await server.status("sessions_detached") == 1)
        #expect(await server.status("ping_lost") == 1)
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send(message(to: "romeo@example.org/orchard", "Wherefore?"))
        server.settle()
        romeo.cut()
        romeo.isReading = true
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready)
        #expect(await server.status("sessions_resumed") == 1)
        #expect(romeo.takeBodies() == ["Wherefore?"])
        // It got the ping after all, and is no longer asked about that one.
        let id = try #require(romeo.expect(ping)[attribute: "id"])
        romeo.send("<iq type='result' id='\(id)'/>")
        server.advance(by: .seconds(30))
        #expect(romeo.phase == .ready)
        await server.stop()
    }
}
