internal import ModuleKit
internal import XMPPCore
internal import XMPPServer

/// Accounts, modules and hosts that come and go in a simulation.
final class SimulatedChanges {
    /// Errors that clients may be told because of it.
    static let errors: Set<String> = [
        "not-authorized", "host-gone", "host-unknown", "not-allowed", "temporary-auth-failure",
    ]

    static let host = "the host"

    /// All there is.
    let whole: PreparedConfig
    /// Without some modules, or without the host.
    let lesser: [(name: String, config: PreparedConfig)]
    var isWhole = true

    init(_ server: TestServer, _ modules: [any Module.Type]) async throws {
        func config(_ hosts: [String], without gone: Set<String>) async throws -> PreparedConfig {
            var config = try TestServer.config(
                hosts, modules.map { ModuleConfig(name: $0.info.name) }.filter { !gone.contains($0.name) })
            (config.limits, config.streamManagement) = (server.config.limits, server.config.streamManagement)
            return try await server.server.prepare(config)
        }
        whole = try await config(["example.org"], without: [])
        lesser = [
            ("offline", try await config(["example.org"], without: ["offline"])),
            ("presence", try await config(["example.org"], without: ["offline", "presence"])),
            ("messages", try await config(["example.org"], without: ["offline", "messages", "mam", "carbons"])),
            ("mam", try await config(["example.org"], without: ["mam"])),
            (Self.host, try await config(["example.net"], without: [])),
        ]
    }
}

extension Simulation {
    func change() {
        guard let changes else { return }
        model.isUnsettled = true
        for actor in actors { disturb(actor) }
        guard changes.isWhole else { return makeWhole() }
        switch random.below(4) {
        case 0, 1: remove(Self.accounts[random.below(Self.accounts.count)])
        default:
            let (name, config) = changes.lesser[random.below(changes.lesser.count)]
            note("\(name) is taken out")
            if name == SimulatedChanges.host { model.lastHostEnd = .max }
            changes.isWhole = false
            server.server.change(to: config)
        }
    }

    private func makeWhole() {
        guard let changes else { return }
        note("all is put back")
        if model.lastHostEnd == .max { model.lastHostEnd = step }
        changes.isWhole = true
        server.server.change(to: changes.whole)
        // Clients say once more that they are there.
        for actor in actors where actor.client.phase == .ready { actor.client.sendPresence(actor.priority) }
    }

    /// Removed, and made again when the removal is known.
    private func remove(_ name: String) {
        guard let account = BareJID("\(name)@example.org") else { return }
        note("\(name) is removed")
        model.removing(account)
        let unsafe = Set(actors.flatMap { $0.client.unacknowledged.compactMap { $0[attribute: "id"] } })
        let (confined, server, start) = (Confined(self), Confined(server), step)
        server.value.server.removeAccount(account) { result in
            let simulation = confined.value
            if case .success = result {
                simulation.note("\(name) has gone")
                simulation.model.removed(account, at: simulation.step, begun: start, unsafe: unsafe)
            } else {
                simulation.model.stays(account)
            }
            server.value.addAccount("\(name)@example.org")
        }
    }

    func endChanges() {
        server.settle()
        for actor in actors { disturb(actor) }
        if changes?.isWhole == false { makeWhole() }
        server.settle()
        for name in Self.accounts { server.addAccount("\(name)@example.org") }
        server.settle()
    }
}
