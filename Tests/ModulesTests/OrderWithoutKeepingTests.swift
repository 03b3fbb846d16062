import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// A reload takes the module out that kept messages, while a client logs in.
@Suite struct OrderWithoutKeepingTests {
    private func configs(without gone: Set<String> = []) -> [ModuleConfig] {
        standardModules.map { ModuleConfig(name: $0.info.name) }.filter { !gone.contains($0.name) }
    }

    @Test(arguments: [false, true], 0..<60)
    func `a message that arrives while the waiting ones are delivered comes behind them`(
        _ early: Bool, _ steps: Int
    ) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 0..<150 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        if early { try await server.reload(configs(without: ["offline"])) }
        let juliet = server.client("juliet@example.org/balcony")
        juliet.logIn()
        for _ in 0..<steps { _ = server.simulation.step(&server.generator) }
        if !early { try await server.reload(configs(without: ["offline"])) }
        romeo.inbox = []
        romeo.send(message(to: "juliet@example.org", "150", id: "late"))
        server.settle()
        let bodies = juliet.takeBodies()
        let bounced = romeo.inbox.contains { $0[attribute: "id"] == "late" }
        #expect(bodies == (0..<(bounced ? 150 : 151)).map(String.init), "\(bodies.firstIndex(of: "150") ?? -1)")
        await server.stop()
    }
}
