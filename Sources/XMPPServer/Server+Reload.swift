public import ModuleKit
import Synchronization

/// Going over to another config while the server runs.
extension Server {
    /// Goes over to another config as far as the kernel can: hosts, modules and their options, authentication, limits.
    /// All or nothing: on an error the old world stays.
    ///
    /// - Returns: what happened, or with `dryRun` would happen, to each part that differs; parts that are not the
    ///   kernel's to change are left out.
    public func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> [ReloadStep] {
        let (old, oldGroups, generation) = current.withLock { ($0.config, $0.groups, $0.generation + 1) }
        let context = HostContext(storage: storage, log: log, state: moduleState)
        let loader = ModuleLoader(types: types, context: context, file: config.file)
        let groups: [HostGroup]
        do {
            groups = try await loader.load(config.hosts, keeping: oldGroups)
            try check(groups)
        } catch {
            throw CommandError("the config is wrong, nothing was changed:\n\(error)")
        }
        let steps = Self.steps(from: old, to: config) + (await endings(from: old, to: config))
        guard !dryRun else {
            await stop(groups, keeping: oldGroups)
            return steps
        }
        admission.use(config.limits)
        throttle.use(config.limits.failedLogins)
        let settings = KernelSettings(config, loops: shards.count)
        _ = await onEachShard { shard in shard.use(groups, settings, generation) }
        current.withLock { current in
            current.config.hosts = config.hosts
            current.config.limits = config.limits
            current.config.streamManagement = config.streamManagement
            current.config.accounts = config.accounts
            current.groups = groups
            current.generation = generation
        }
        registry.hosts = config.hosts
        await stop(oldGroups, keeping: groups)
        return steps
    }

    /// Has each loop go over to another config, at some moment, as a reload does. Only for simulations, in which nothing
    /// may wait: nothing is checked, and modules that go are not stopped.
    package func change(to config: PreparedConfig) {
        let settings = KernelSettings(config.config, loops: shards.count)
        for shard in shards { shard.loop.post(.work { shard.use(config.groups, settings, 0) }) }
    }

    package func prepare(_ config: ServerConfig) async throws(ConfigErrors) -> PreparedConfig {
        let context = HostContext(storage: storage, log: log, state: moduleState)
        let groups = try await ModuleLoader(types: types, context: context, file: config.file).load(config.hosts)
        return PreparedConfig(config: config, groups: groups)
    }

    /// Ends the modules of groups that the others have not taken over.
    private func stop(_ groups: [HostGroup], keeping others: [HostGroup]) async {
        for group in groups where !others.contains(where: { $0.config == group.config }) {
            for module in group.modules { await module.stop() }
        }
    }

    /// The hosts that go, with their sessions, and the hosts that keep messages no more, with those that wait.
    private func endings(from old: ServerConfig, to new: ServerConfig) async -> [ReloadStep] {
        var steps: [ReloadStep] = []
        let gone = old.hosts.map(\.name).filter { name in !new.hosts.contains { $0.name == name } }
        let counts = gone.isEmpty ? [] : await onEachShard { $0.sessionCounts }
        for host in gone {
            let sessions = counts.reduce(0) { $0 + ($1[host] ?? 0) }
            steps.append(ReloadStep("host \(host)", .applied, "it goes, and \(sessions) sessions end"))
        }
        func keeps(_ host: HostConfig) -> Bool { WaitingMessages.areKept(at: host, by: types) }
        for host in new.hosts where !keeps(host) && old.hosts.contains(where: { $0.name == host.name && keeps($0) }) {
            let waiting = try? await WaitingMessages.count(at: host.name, in: storage)
            let number = waiting.map { "\($0) messages wait" } ?? "nobody knows how many messages wait"
            steps.append(
                ReloadStep(
                    "keeping messages at \(host.name)", .applied,
                    "it ends; \(number), and are delivered when their accounts log in"))
        }
        return steps
    }

    private static func steps(from old: ServerConfig, to new: ServerConfig) -> [ReloadStep] {
        var steps: [ReloadStep] = []
        func compare(_ part: String, _ isEqual: Bool, _ effect: ReloadStep.Effect) {
            if !isEqual { steps.append(ReloadStep(part, effect)) }
        }
        compare("hosts", old.hosts.map(\.name) == new.hosts.map(\.name), .applied)
        compare("modules", old.hosts.map(\.modules) == new.hosts.map(\.modules), .applied)
        compare("auth", old.hosts.map(\.auth) == new.hosts.map(\.auth), .applied)
        compare("tls", old.hosts.map(\.certificate) == new.hosts.map(\.certificate), .applied)
        compare("limits", old.limits == new.limits, .applied)
        compare("stream_management", old.streamManagement == new.streamManagement, .applied)
        compare("accounts", old.accounts == new.accounts, .applied)
        compare("data", old.data == new.data, .needsProcessRestart)
        compare("log", old.log == new.log, .needsProcessRestart)
        compare("loops", old.loops == new.loops, .needsProcessRestart)
        return steps
    }
}

/// A config with its modules, made and not yet in use.
package struct PreparedConfig: Sendable {
    let config: ServerConfig
    let groups: [HostGroup]
}

extension Shard {
    func use(_ groups: [HostGroup], _ next: KernelSettings, _ generation: Int) {
        collectMetrics()
        settings = next
        var problems: [String] = []
        use(ModuleLoader.world(groups, generation: generation, on: self, problems: &problems))
        for account in accounts.values { account.limitRate() }
        for session in sessions.values { session.watchSilence() }
    }
}

/// What a reload means for one part of the config that has changed.
public struct ReloadStep: Hashable, Sendable {
    public enum Effect: String, Hashable, Sendable {
        /// From now on; streams and sessions go on.
        case applied
        /// The port is closed and opened again; its streams go on.
        case needsListenerRestart = "needs listener restart"
        /// Left as it is until the process starts anew.
        case needsProcessRestart = "needs process restart"
    }

    public var part: String
    public var effect: Effect
    /// Its meaning for users; empty where the effect says it all.
    public var detail: String

    public init(_ part: String, _ effect: Effect, _ detail: String = "") {
        self.part = part
        self.effect = effect
        self.detail = detail
    }

    /// For the operator.
    public var outcome: String { detail.isEmpty ? effect.rawValue : "\(effect.rawValue): \(detail)" }
}
