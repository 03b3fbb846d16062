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
                "modules", "List the modules of each host.",
                [CommandArgument("pipeline", "show which module runs where, and why", isOptional: true)]
            ) { [self] input in await listModules(pipeline: input.arguments["pipeline"] == "true") },
        ]
    }

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

    private func status() async -> CommandOutput {
        struct Part: Sendable {
            var counts: ShardCounts
            var sessions: Int
            var detached: Int
            var accounts: Int
            var entities: Int
            var modules: [String: Int]
        }
        let parts = await onEachShard { shard in
            var modules: [String: Int] = [:]
            var seen: Set<ObjectIdentifier> = []
            for table in shard.world.hosts.values where seen.insert(ObjectIdentifier(table)).inserted {
                for counter in table.counters {
                    modules["\(counter.module)_\(counter.name)", default: 0] += counter.value
                }
            }
            return Part(
                counts: shard.counts, sessions: shard.sessions.count,
                detached: shard.sessions.values.count { !$0.isConnected }, accounts: shard.accounts.count,
                entities: shard.entities.count, modules: modules)
        }
        func sum(_ value: (Part) -> Int) -> String { String(parts.reduce(0) { $0 + value($1) }) }
        let logins = logins
        var rows = [
            ["sessions", sum(\.sessions)], ["sessions_detached", sum(\.detached)],
            ["connections_without_session", String(admission.counts.open)],
            ["connections_refused", String(admission.counts.refused)],
            ["logins", String(logins.authenticated)], ["logins_rejected", String(logins.rejected)],
            ["logins_timed_out", String(logins.timedOut)], ["accounts_in_memory", sum(\.accounts)],
            ["entities_in_memory", sum(\.entities)], ["stanzas_received", sum(\.counts.received)],
            ["stanzas_delivered", sum(\.counts.delivered)], ["stanzas_bounced", sum(\.counts.bounced)],
            ["messages_spilled", sum(\.counts.spilled)], ["sessions_resumed", sum(\.counts.resumed)],
            ["account_loads", sum(\.counts.loads)], ["account_loads_failed", sum(\.counts.failedLoads)],
            ["commits_failed", sum(\.counts.failedCommits)],
            ["storage_pressed", storage.isPressed ? "yes" : "no"],
        ]
        var modules: [String: Int] = [:]
        for part in parts { modules.merge(part.modules, uniquingKeysWith: +) }
        rows += modules.sorted { $0.key < $1.key }.map { [$0.key, String($0.value)] }
        return .table(columns: ["what", "value"], rows: rows)
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

    // MARK: Reload

    /// Goes over to another config as far as a running server can: modules and their options, hosts, iterations. What
    /// needs a restart is named and left as it is. All or nothing: on an error the old world stays.
    public func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> CommandOutput {
        let (old, oldGroups, generation) = current.withLock { ($0.config, $0.groups, $0.generation + 1) }
        let loader = ModuleLoader(types: types, context: HostContext(storage: storage, log: log), file: config.file)
        let groups: [HostGroup]
        do {
            groups = try await loader.load(config.hosts, keeping: oldGroups)
            try check(groups)
        } catch {
            throw CommandError("the config is wrong, nothing was changed:\n\(error)")
        }
        let plan = Self.plan(from: old, to: config)
        guard !dryRun else { return .table(columns: ["part", "what happens"], rows: plan) }
        _ = await onEachShard { shard in
            var problems: [String] = []
            shard.world = ModuleLoader.world(groups, generation: generation, on: shard, problems: &problems)
            for session in shard.sessions.values { session.watchSilence() }
        }
        current.withLock { current in
            current.config.hosts = config.hosts
            current.groups = groups
            registry.hosts = config.hosts
            current.generation = generation
        }
        for group in oldGroups where !groups.contains(where: { $0.config == group.config }) {
            for module in group.modules { await module.stop() }
        }
        return .table(columns: ["part", "what happened"], rows: plan)
    }

    private static func plan(from old: ServerConfig, to new: ServerConfig) -> [[String]] {
        var rows: [[String]] = []
        func compare(_ part: String, _ isEqual: Bool, _ effect: String) {
            if !isEqual { rows.append([part, effect]) }
        }
        let restart = "needs a restart of the process"
        compare("hosts", old.hosts.map(\.name) == new.hosts.map(\.name), "applied")
        compare("modules", old.hosts.map(\.modules) == new.hosts.map(\.modules), "applied")
        compare("auth", old.hosts.map(\.auth) == new.hosts.map(\.auth), "applied")
        compare("tls", old.hosts.map(\.certificate) == new.hosts.map(\.certificate), "applied")
        compare("listen", old.listeners == new.listeners, restart)
        compare("data", old.data == new.data, restart)
        compare("log", old.log == new.log, restart)
        compare("loops", old.loops == new.loops, restart)
        compare("limits", old.limits == new.limits, restart)
        compare("stream_management", old.streamManagement == new.streamManagement, restart)
        compare("accounts", old.accounts == new.accounts, restart)
        if rows.isEmpty { rows = [["everything", "is as it was"]] }
        return rows
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
