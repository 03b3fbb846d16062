import ModuleKit
import ModuleTesting
import Testing

/// RFC 6121 §8.5 in every combination of two resources, their priorities, the type and the address, against the rules
/// written down once more.
@Suite struct DeliveryCombinationTests {
    /// What a resource may be: away, connected without presence, or available with a priority.
    enum Presence: CaseIterable, Sendable {
        case away, silent, negative, zero, high

        var isConnected: Bool { self != .away }
        var priority: Int? {
            switch self {
            case .away, .silent: nil
            case .negative: -1
            case .zero: 0
            case .high: 5
            }
        }
    }

    struct Expected: Equatable {
        var resources: [String] = []
        var isKept = false
        var isBounced = false
    }

    private func expected(_ type: String, to resource: String, _ present: [(String, Presence)]) -> Expected {
        // §8.5.3.1.
        if present.contains(where: { $0.0 == resource && $0.1.isConnected }) { return Expected(resources: [resource]) }
        // §8.5.3.2.1: as to the bare address, or not at all.
        if !resource.isEmpty, type == "headline" { return Expected() }
        if !resource.isEmpty, type == "normal" { return Expected(isBounced: true) }
        // §8.5.2.
        let able = present.filter { ($0.1.priority ?? -1) >= 0 }
        switch type {
        case "groupchat": return Expected(isBounced: true)
        case "error": return Expected()
        case "headline": return Expected(resources: able.map(\.0))
        default:
            guard let most = able.compactMap(\.1.priority).max() else { return Expected(isKept: true) }
            return Expected(resources: able.filter { $0.1.priority == most }.map(\.0))
        }
    }

    @Test(arguments: Presence.allCases, Presence.allCases)
    func `a message goes where RFC 6121 says in every combination`(_ a: Presence, _ b: Presence) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let present = [("a", a), ("b", b)]
        let juliets = try present.filter(\.1.isConnected).map { resource, presence in
            (resource, try server.login("juliet@example.org/\(resource)", priority: presence.priority))
        }
        for type in ["normal", "chat", "headline", "groupchat", "error"] {
            for resource in ["", "a", "b", "x"] {
                romeo.inbox = []
                romeo.send(
                    message(to: "juliet@example.org" + (resource.isEmpty ? "" : "/\(resource)"), "Hi", type: type))
                server.settle()
                var got = Expected(resources: juliets.filter { $0.1.takeBodies() == ["Hi"] }.map(\.0))
                got.isBounced = romeo.inbox.contains { $0[attribute: "type"] == "error" }
                let late = try server.login("juliet@example.org/late", priority: 10)
                got.isKept = late.takeBodies() == ["Hi"]
                late.end()
                server.settle()
                #expect(
                    got == expected(type, to: resource, present), "\(type) to /\(resource) with a \(a) and b \(b)")
            }
        }
        await server.stop()
    }
}
