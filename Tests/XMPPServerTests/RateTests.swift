import ModuleKit
import ModuleTesting
import Testing

@testable import XMPPServer

/// `limits.authenticated.rate`: how fast an account may send.
@Suite struct RateTests {
    private func server(_ rate: Int?, burst: Int = 4096, loops: Int = 2) async throws -> TestServer {
        try await TestServer([], loops: loops) { config in
            config.limits.authenticated.rate = rate
            config.limits.authenticated.burst = burst
        }
    }

    /// 1024 bytes each.
    private func message(_ id: Int) -> String {
        let start = "<message to='juliet@example.org' id='\(id)'><body>"
        let end = "</body></message>"
        return start + String(repeating: "x", count: 1024 - start.utf8.count - end.utf8.count) + end
    }

    private func received(_ server: TestServer) async -> Int { await server.status("stanzas_received") ?? -1 }

    @Test func `a burst is taken at once, the rest at the rate, and nothing is lost`() async throws {
        let server = try await server(1024, burst: 8192)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.sendRaw((0..<40).map(message).joined())
        server.settle()
        let first = await received(server)
        #expect((8...10).contains(first))
        server.advance(by: .seconds(10))
        let second = await received(server)
        #expect((9...11).contains(second - first))
        server.advance(by: .seconds(30))
        #expect(await received(server) == 40)
        #expect(romeo.phase == .ready)
        #expect(await server.status("reading_slowed") ?? 0 > 0)
        await server.stop()
    }

    @Test func `all sessions of an account share it, and other accounts do not`() async throws {
        let server = try await server(1024, burst: 4096)
        let sessions = try ["a", "b", "c"].map { try server.login("romeo@example.org/\($0)", priority: nil) }
        for session in sessions { session.sendRaw((0..<20).map(message).joined()) }
        server.settle()
        let before = await received(server)
        // One more of each session may have been under way.
        #expect((4...8).contains(before))
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        juliet.sendRaw((0..<4).map(message).joined())
        server.settle()
        #expect(await received(server) == before + 4)
        server.advance(by: .seconds(20))
        // The burst, twenty seconds, and again one of each that may be under way.
        #expect((22...28).contains(await received(server) - 4))
        server.advance(by: .seconds(60))
        #expect(await received(server) == 64)
        await server.stop()
    }

    @Test func `without a rate nobody waits, and a reload turns it on and off`() async throws {
        let server = try await server(nil)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        romeo.sendRaw((0..<50).map(message).joined())
        server.settle()
        #expect(await received(server) == 50)
        try await server.reload([]) {
            $0.limits.authenticated.rate = 1024
            $0.limits.authenticated.burst = 4096
        }
        romeo.sendRaw((0..<50).map(message).joined())
        server.settle()
        #expect(await received(server) < 60)
        try await server.reload([])
        server.advance(by: .seconds(6))
        #expect(await received(server) == 100)
        await server.stop()
    }

    @Test func `a session that is slowed can be ended, replaced and resumed like any other`() async throws {
        let server = try await server(1024)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil, management: true)
        for id in 0..<20 { romeo.send(message(id)) }
        server.settle()
        romeo.cut(losing: 10)
        server.settle()
        romeo.logIn()
        server.advance(by: .seconds(60))
        #expect(romeo.phase == .ready)
        #expect(romeo.errors.isEmpty)
        romeo.requestAcknowledgement()
        server.settle()
        #expect(romeo.unacknowledged.isEmpty)
        let other = try server.login("romeo@example.org/orchard", priority: nil)
        #expect(other.phase == .ready)
        #expect(romeo.phase == .offline)
        server.advance(by: .seconds(20))
        #expect(await server.status("sessions") == 1)
        await server.stop()
    }

    // MARK: The account of it

    private func at(_ seconds: Double) -> Instant { Instant(nanoseconds: 1_000_000_000_000 + Int64(seconds * 1e9)) }

    @Test func `what was not used does not add up beyond the burst`() {
        let rate = AccountRate(1000, burst: 5000)
        #expect(rate.delay(at(0)) == nil)
        rate.spend(5000, at(0))
        #expect(rate.delay(at(0)) == nil)
        rate.spend(1000, at(0))
        #expect(rate.delay(at(0)) == .seconds(1))
        #expect(rate.delay(at(0.5)) == .milliseconds(500))
        #expect(rate.delay(at(1)) == nil)
        rate.spend(7000, at(1000))
        #expect(rate.delay(at(1000)) == .seconds(2))
    }

    @Test func `no number makes it overflow`() {
        let rate = AccountRate(1, burst: .max)
        for _ in 0..<1000 { rate.spend(.max, at(0)) }
        #expect(rate.delay(at(0)) == nil)
        let slow = AccountRate(0, burst: -1)
        for _ in 0..<1000 { slow.spend(.max, at(0)) }
        #expect(slow.delay(at(0)) == .seconds(100 * 86_400))
    }
}
