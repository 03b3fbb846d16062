public import ModuleKit
import Synchronization
import XMPPStream

/// What an operator asks the running server.
extension Server {
    /// The kernel's commands and those of the modules.
    public var commands: [Command] {
        [
            Command("sessions", "List who is connected.") { [self] _ in await listSessions() },
            Command("status", "Show how the server is doing.") { [self] _ in await status() },
            Command(
                "kick", "End the sessions of an account, or one of them.",
                [
                    CommandArgument("address", "the account, or one session of it (user@host/resource)"),
                    CommandArgument("reason", "what the client is told", isOptional: true),
                ]
            ) { [self] input throws(CommandError) in try await kick(input) },
            Command(
                "modules", "List the modules of each host.",
                [CommandArgument("pipeline", "show which module runs where, and why", isOptional: true)]
            ) { [self] input in await listModules(pipeline: input.arguments["pipeline"] == "true") },
        ]
    }

    /// - Throws: what the command throws; `usage` for one that does not exist.
    public func run(_ name: String, _ input: CommandInput) async throws(CommandError) -> CommandOutput {
        if let command = commands.first(where: { $0.name == name }) { return try await command(input) }
        let found = await onEachShard { shard in
            shard.world.hosts.values.lazy.flatMap(\.commands).first { $0.name == name }
        }
        guard let command = found.lazy.compactMap({ $0 }).first else {
            throw .usage("there is no command \"\(name.prefix(100))\"")
        }
        return try await command(input)
    }

    private func kick(_ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let text = input.arguments["address"] ?? ""
        guard let address = JID(text), !address.local.isEmpty else {
            throw .usage("\(text.quotedForPrint) is not an address like user@example.org/resource")
        }
        let reason = input.arguments["reason"] ?? "ended by the administrator"
        let shard = shards[office.home(of: address.bare)]
        let count = await withCheckedContinuation { continuation in
            shard.loop.post(
                .work {
                    let sessions = (shard.accounts[address.bare]?.sessionList ?? []).filter {
                        address.isBare || $0.address.resource == address.resource
                    }
                    for session in sessions { session.close(.policyViolation.saying(reason)) }
                    continuation.resume(returning: sessions.count)
                })
        }
        guard count > 0 else { throw .notFound("\(address) has no session") }
        return .done("\(count) \(count == 1 ? "session" : "sessions") of \(address.bare) ended")
    }

    private func listSessions() async -> CommandOutput {
        let rows = await onEachShard { shard in
            shard.sessions.values.map { session in
                [
                    session.address.description, session.transport?.peer.address ?? "-",
                    session.isConnected ? "connected" : "detached",
                    session.presence == nil ? "-" : String(session.priority),
                    session.transport?.tls?.version ?? "-", session.resumption == nil ? "-" : "resumable",
                    String(session.outstanding?.queue.count ?? 0),
                ]
            }
        }
        return .table(
            columns: ["address", "from", "state", "priority", "tls", "sm", "unacknowledged"],
            rows: rows.flatMap { $0 }.sorted { $0[0] < $1[0] })
    }

    private func listModules(pipeline: Bool) async -> CommandOutput {
        let groups = current.withLock { $0.groups }
        guard pipeline else {
            let rows = groups.flatMap { group in
                group.hosts.flatMap { host in
                    group.modules.map { module in
                        let info = group.info(module)
                        return [host, info.name, info.specifications.map(\.name).joined(separator: " ")]
                    }
                }
            }
            return .table(columns: ["host", "module", "specifications"], rows: rows)
        }
        guard let shard = shards.first else { return .text("") }
        let lines = await withCheckedContinuation { continuation in
            shard.loop.post(.work { continuation.resume(returning: Pipeline.lines(of: shard.world, groups)) })
        }
        return .text(lines.joined(separator: "\n"))
    }
}

/// The pipeline as an operator reads it.
enum Pipeline {
    static func lines(of world: World, _ groups: [HostGroup]) -> [String] {
        var lines: [String] = []
        for group in groups {
            guard let host = group.hosts.first, let table = world.hosts[host] else { continue }
            lines.append("hosts: \(group.hosts.joined(separator: " "))")
            lines += point("received", table.received)
            lines += point("arriving", table.arriving)
            lines += point("sending", table.sending)
            lines += point("undeliverable", table.undeliverable)
            for moment in table.moments {
                let modules = moment.modules.isEmpty ? "nobody" : moment.modules.joined(separator: ", ")
                lines.append("  \(moment.name): \(modules)")
            }
            for route in table.iq.all {
                let targets = route.targets.map { "\($0)" }.joined(separator: " ")
                lines.append(
                    "  iq \(route.type) \(route.name) {\(route.namespace)} at \(targets) from \(route.asker): \(route.module)"
                )
            }
            for node in table.discoNodes.all { lines.append("  node \(node.name) at \(node.target): \(node.module)") }
            for route in table.streamRequests.all {
                lines.append(
                    "  iq \(route.type) \(route.name) {\(route.namespace)} before authentication: \(route.module)")
            }
        }
        return lines
    }

    private static func point<Event>(_ name: String, _ point: CompiledPoint<Event>) -> [String] {
        guard !point.steps.isEmpty else { return ["  \(name): nobody"] }
        return ["  \(name):"]
            + point.steps.map { step in
                let after = step.after.isEmpty ? "" : ", after \(step.after.joined(separator: " "))"
                return "    \(step.stage): \(step.module) on \(step.interest)\(after)"
            }
    }
}
