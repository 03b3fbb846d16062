import ModuleKit
import ModuleTesting
import StorageMemory
import Testing

/// A backup is made while clients chat, the server goes on, and then the backup is put back: clients come with numbers
/// from a time that never was.
@Suite struct RestoredTests {
    private static let roster = "<query xmlns='jabber:iq:roster'/>"

    private func addContact(_ client: TestClient, _ server: TestServer, _ name: String) throws {
        try client.ask(
            server, "set", "<query xmlns='jabber:iq:roster'><item jid='\(name)@example.net'/></query>")
    }

    private func contacts(_ client: TestClient, _ server: TestServer, version: String? = nil) throws -> [String]? {
        let ver = version.map { " ver='\($0)'" } ?? ""
        let answer = try client.ask(server, "get", "<query xmlns='jabber:iq:roster'\(ver)/>")
        return answer?.elements.compactMap { $0[attribute: "jid"] }.sorted()
    }

    @Test(arguments: 0..<60)
    func `clients find what the backup has, once, whatever they remember of later`(_ seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let server = try await TestServer(standardModules, loops: 1 + random.below(3), seed: seed)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        for number in 0..<random.below(5) { try addContact(juliet, server, "early\(number)") }
        if random.oneIn(2) { juliet.answersRequests = false }
        if random.oneIn(3) { juliet.cut() }
        server.settle()
        var sent = 0
        func chat(_ count: Int) {
            for _ in 0..<count {
                sent += 1
                romeo.send(message(to: "juliet@example.org", "\(sent)", id: "\(sent)"))
                for _ in 0..<random.below(12) { _ = server.simulation.step(&server.generator) }
            }
        }
        chat(20)
        if random.oneIn(2) { server.advance(by: .seconds(5)) }
        chat(20)
        let backup = server.memory.restored()
        let unsafe = Set(romeo.unacknowledged.compactMap { $0[attribute: "id"] })
        let hadBefore = Set(juliet.inbox.compactMap { $0.first("body", .client)?.text })
        let safe = (1...sent).map(String.init).filter { !unsafe.contains($0) }

        // All this will not have happened.
        juliet.answersRequests = true
        if juliet.phase != .ready { juliet.logIn() }
        server.settle()
        let early = try contacts(juliet, server) ?? []
        for number in 0..<(1 + random.below(5)) { try addContact(juliet, server, "late\(number)") }
        let version = try juliet.ask(server, "get", Self.roster)?[attribute: "ver"]
        chat(20)
        server.settle()
        let id = try #require(juliet.resumeID)
        if random.oneIn(2) { await server.stop() } else { server.crash() }

        let again = try await TestServer(standardModules, seed: seed, memory: backup)
        again.advance(by: .seconds(3600))
        var options = TestClient.Options()
        options.management = true
        let back = again.client("juliet@example.org/balcony", options)
        back.pretend(resumeID: id, handled: UInt32(random.below(50)))
        back.logIn()
        again.settle()
        #expect(back.phase == .ready)
        #expect(await again.status("sessions_resumed") == 0)
        let bodies = back.takeBodies()
        #expect(Set(bodies).count == bodies.count && bodies == bodies.sorted { Int($0) ?? 0 < Int($1) ?? 0 })
        for id in safe where !hadBefore.contains(id) { #expect(bodies.contains(id), "\(id) is lost, seed \(seed)") }
        // The whole roster, as the backup has it.
        #expect(try contacts(back, again, version: version) == early)
        try addContact(back, again, "new")
        let later = try again.login("romeo@example.org/orchard", management: true)
        later.send(message(to: "juliet@example.org", "after"))
        again.settle()
        #expect(back.takeBodies() == ["after"])
        await again.stop()
    }
}
