import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// `limits.authenticated.idle` and `keepalive`.
@Suite struct IdleTests {
    private func server(
        _ modules: [any Module.Type] = [], idle: Duration? = nil, keepalive: Duration? = nil,
        adjust: (inout ServerConfig) -> Void = { _ in }
    ) async throws -> TestServer {
        try await TestServer(modules) { config in
            config.limits.authenticated.idle = idle
            config.limits.authenticated.keepalive = keepalive
            adjust(&config)
        }
    }

    @Test func `a client without stream management that says nothing for so long is cut off`() async throws {
        let server = try await server(idle: .seconds(60))
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(59))
        #expect(romeo.phase == .ready)
        server.advance(by: .seconds(2))
        #expect(romeo.phase == .offline)
        #expect(romeo.errors.first?.elements.map(\.name) == ["connection-timeout"])
        #expect(await server.status("sessions") == 0)
        #expect(await server.status("sessions_idle") == 1)
        await server.stop()
    }

    @Test func `with stream management its session waits for it`() async throws {
        let server = try await server(idle: .seconds(60))
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        server.advance(by: .seconds(61))
        #expect(await server.status("sessions_detached") == 1)
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready)
        #expect(await server.status("sessions_resumed") == 1)
        // And is watched on.
        server.advance(by: .seconds(61))
        #expect(await server.status("sessions_detached") == 1)
        #expect(await server.status("sessions_idle") == 2)
        await server.stop()
    }

    @Test func `white space is a sign of life`() async throws {
        let server = try await server(idle: .seconds(60))
        let romeo = try server.login("romeo@example.org/orchard")
        for _ in 0..<10 {
            server.advance(by: .seconds(50))
            romeo.sendRaw(" ")
        }
        server.settle()
        #expect(romeo.phase == .ready)
        server.advance(by: .seconds(61))
        #expect(romeo.phase == .offline)
        await server.stop()
    }

    @Test func `time in which the server did not read is not silence`() async throws {
        let server = try await server(idle: .seconds(60)) {
            $0.limits.authenticated.rate = 1024
            $0.limits.authenticated.burst = 4096
        }
        let romeo = try server.login("romeo@example.org/orchard")
        // More than three minutes' worth.
        romeo.send("<message to='juliet@example.org'><body>\(String(repeating: "x", count: 200_000))</body></message>")
        server.advance(by: .seconds(150))
        #expect(romeo.phase == .ready)
        server.advance(by: .seconds(80))
        #expect(romeo.phase == .ready, "it had no time yet since it may speak again")
        server.advance(by: .seconds(30))
        #expect(romeo.phase == .offline)
        await server.stop()
    }

    @Test func `a silent client gets white space again and again, one that speaks gets none`() async throws {
        let server = try await server(keepalive: .seconds(30))
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        for _ in 0..<10 {
            server.advance(by: .seconds(20))
            juliet.sendRaw(" ")
        }
        server.settle()
        #expect((5...6).contains(romeo.keepalives))
        #expect(juliet.keepalives == 0)
        #expect(romeo.phase == .ready)
        await server.stop()
    }

    @Test func `white space means nothing between messages of a framing, and is not sent there`() async throws {
        let server = try await server(keepalive: .seconds(30))
        let romeo = try server.login("romeo@example.org/orchard", framing: .messages)
        server.advance(by: .seconds(100))
        #expect(romeo.keepalives == 0)
        #expect(romeo.phase == .ready)
        await server.stop()
    }

    @Test func `a client that does not read is sent white space once`() async throws {
        let server = try await server(keepalive: .seconds(30))
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.isReading = false
        server.advance(by: .seconds(1000))
        romeo.isReading = true
        server.settle()
        #expect(romeo.keepalives == 1)
        await server.stop()
    }

    @Test func `without the options nothing watches, and a reload turns it on and off`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(100_000))
        #expect(romeo.phase == .ready)
        #expect(romeo.keepalives == 0)
        try await server.reload([]) { $0.limits.authenticated.keepalive = .seconds(30) }
        romeo.sendRaw(" ")
        server.advance(by: .seconds(31))
        #expect(romeo.keepalives == 1)
        try await server.reload([]) { $0.limits.authenticated.idle = .seconds(60) }
        romeo.sendRaw(" ")
        server.advance(by: .seconds(61))
        #expect(romeo.keepalives == 1)
        #expect(romeo.phase == .offline)
        await server.stop()
    }
}
