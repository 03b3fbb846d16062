import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// Two sessions that want one resource (RFC 6120 §7.7.2.2).
@Suite struct ConflictTests {
    typealias Policy = LimitsConfig.Authenticated.Conflict

    private func server(_ policy: Policy, seed: UInt64 = 1) async throws -> TestServer {
        try await TestServer([], seed: seed) { config in
            config.limits.authenticated.conflict = policy
            // So many at once are no guesses.
            config.limits.failedLogins.free = 100
        }
    }

    private func conditions(_ client: TestClient) -> [String] {
        client.errors.compactMap { $0.elements.first?.name == "error" ? $0.elements.last : $0 }
            .flatMap(\.elements).map(\.name)
    }

    @Test func `by default the newer one has it, and the older one's stream ends with a conflict`() async throws {
        #expect(LimitsConfig().authenticated.conflict == .replace)
        let server = try await server(.replace)
        let old = try server.login("romeo@example.org/orchard")
        let new = try server.login("romeo@example.org/orchard")
        #expect(new.address?.resource == "orchard")
        #expect(old.phase == .offline)
        #expect(conditions(old) == ["conflict"])
        #expect(await server.status("sessions") == 1)
        #expect(await server.status("sessions_conflicting") == 1)
        await server.stop()
    }

    @Test func `refused, the newer one is told of the conflict and may take another resource`() async throws {
        let server = try await server(.refuse)
        let old = try server.login("romeo@example.org/orchard")
        let new = server.client("romeo@example.org/orchard")
        new.logIn()
        server.settle()
        #expect(new.phase == .negotiating)
        let refusal = new.errors.first
        #expect(refusal?[attribute: "type"] == "error")
        #expect(refusal?.first("error", .client)?[attribute: "type"] == "cancel")
        #expect(refusal?.first("error", .client)?.elements.map(\.name) == ["conflict"])
        new.send(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>balcony</resource></bind></iq>"
        )
        server.settle()
        #expect(new.address?.resource == "balcony")
        #expect(old.phase == .ready)
        await server.stop()
    }

    @Test func `renamed, both are there`() async throws {
        let server = try await server(.rename)
        let old = try server.login("romeo@example.org/orchard")
        let new = try server.login("romeo@example.org/orchard")
        #expect(old.phase == .ready)
        #expect(old.address?.resource == "orchard")
        #expect(new.address?.resource.isEmpty == false)
        #expect(new.address?.resource != "orchard")
        #expect(await server.status("sessions") == 2)
        await server.stop()
    }

    @Test(arguments: Policy.allCases)
    func `a session that waits to be resumed gives its resource to who is there`(_ policy: Policy) async throws {
        let server = try await server(policy)
        let old = try server.login("romeo@example.org/orchard", management: true)
        old.cut()
        server.settle()
        let new = try server.login("romeo@example.org/orchard")
        #expect(new.address?.resource == "orchard")
        #expect(await server.status("sessions") == 1)
        await server.stop()
    }

    @Test(arguments: Policy.allCases, 1...20)
    func `of many who want it at once one has it, whoever comes first`(_ policy: Policy, _ seed: UInt64) async throws {
        let server = try await server(policy, seed: seed)
        let clients = (0..<8).map { _ in server.client("romeo@example.org/orchard") }
        for client in clients { client.logIn() }
        server.settle()
        let winners = clients.filter { $0.phase == .ready && $0.address?.resource == "orchard" }
        #expect(winners.count == 1)
        let ready = clients.count { $0.phase == .ready }
        #expect(ready == (policy == .rename ? 8 : 1))
        #expect(server.counts.sessions == ready)
        await server.stop()
    }
}
