import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// How many connections of clients that have logged in come from one address.
@Suite struct SeatTests {
    private func server(_ most: Int, sessions: Int = 50) async throws -> TestServer {
        try await TestServer([]) { config in
            config.limits.authenticated.connectionsPerAddress = most
            config.limits.authenticated.sessions = sessions
        }
    }

    private func client(
        _ server: TestServer, _ address: String, from peer: String, management: Bool = false
    )
        -> TestClient
    {
        var options = TestClient.Options()
        options.peer = peer
        options.management = management
        let client = server.client(address, options)
        client.logIn()
        server.settle()
        return client
    }

    @Test func `one too many from an address is told so before it is in, and others are not touched`() async throws {
        let server = try await server(2)
        let first = client(server, "romeo@example.org/a", from: "192.0.2.7")
        #expect(client(server, "juliet@example.org/b", from: "192.0.2.7").phase == .ready)
        let third = client(server, "mercutio@example.org/c", from: "192.0.2.7")
        #expect(third.phase == .negotiating)
        #expect(third.errors.first?.elements.first?.name == "temporary-auth-failure")
        #expect(client(server, "mercutio@example.org/d", from: "192.0.2.8").phase == .ready)
        #expect(await server.status("connections_logged_in") == 3)
        #expect(await server.status("logins_crowded") == 1)
        first.end()
        server.settle()
        #expect(client(server, "mercutio@example.org/e", from: "192.0.2.7").phase == .ready)
        await server.stop()
        #expect(server.counts.sessions == 0)
    }

    @Test func `all of a /64 is one address`() async throws {
        let server = try await server(1)
        #expect(client(server, "romeo@example.org/a", from: "2001:db8:0:1::1").phase == .ready)
        #expect(client(server, "romeo@example.org/b", from: "2001:db8:0:1:ffff::2").phase == .negotiating)
        #expect(client(server, "romeo@example.org/c", from: "2001:db8:0:2::1").phase == .ready)
        await server.stop()
    }

    enum Way: CaseIterable { case ends, isCut, isReplaced, staysUnbound, isDetached, isResumed, isKicked }

    @Test(arguments: Way.allCases)
    func `whatever way a connection goes, it no longer counts`(_ way: Way) async throws {
        let server = try await server(3, sessions: 1)
        let juliet = client(server, "juliet@example.org/a", from: "192.0.2.7")
        let romeo = client(
            server, "romeo@example.org/a", from: "192.0.2.7", management: [.isDetached, .isResumed].contains(way))
        #expect(await server.status("connections_logged_in") == 2)
        switch way {
        case .ends: romeo.end()
        case .isCut, .isDetached: romeo.cut()
        case .isReplaced: client(server, "romeo@example.org/a", from: "192.0.2.9").end()
        case .isResumed:
            // The server does not know yet that the old connection is gone.
            romeo.logIn()
            server.settle()
            #expect(romeo.phase == .ready)
            #expect(await server.status("connections_logged_in") == 2)
            romeo.cut()
        case .isKicked:
            _ = await server.pump { [server = server.server] in
                try? await server.run("kick", CommandInput(arguments: ["address": "romeo@example.org"]))
            }
        case .staysUnbound:
            romeo.end()
            server.settle()
            // Logged in, refused a second session, and gone.
            let other = server.client("juliet@example.org/b")
            other.logIn()
            server.settle()
            #expect(other.phase == .negotiating)
            #expect(await server.status("connections_logged_in") == 2)
            other.cut()
        }
        server.settle()
        #expect(await server.status("connections_logged_in") == 1)
        juliet.cut()
        server.settle()
        #expect(await server.status("connections_logged_in") == 0)
        await server.stop()
    }

    @Test func `a reload changes how many there may be`() async throws {
        let server = try await server(1)
        let first = client(server, "romeo@example.org/a", from: "192.0.2.7")
        try await server.reload([]) { $0.limits.authenticated.connectionsPerAddress = 2 }
        #expect(client(server, "romeo@example.org/b", from: "192.0.2.7").phase == .ready)
        try await server.reload([]) { $0.limits.authenticated.connectionsPerAddress = 1 }
        #expect(client(server, "romeo@example.org/c", from: "192.0.2.7").phase == .negotiating)
        #expect(first.phase == .ready)
        await server.stop()
    }
}
