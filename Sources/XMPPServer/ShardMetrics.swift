import CoreMetrics
import ModuleKit

/// The numbers of one loop on their way to whatever metrics backend the process has (swift-metrics): the kernel's own
/// and those that modules declare. Nothing of it is on a stanza's way: each sweep passes on by how much they have grown.
///
/// Counters are named `martlet_MODULE_NAME`, the kernel's `martlet_NAME`. Gauges carry the loop, since each knows only
/// its own.
final class ShardMetrics {
    private let factory: any MetricsFactory
    private let loop: String
    private var counters: [String: CoreMetrics.Counter] = [:]
    private var gauges: [String: CoreMetrics.Meter] = [:]
    private var reported = ShardCounts()
    /// What was collected of the modules' counters, by name; a reload makes new ones.
    private var totals: [String: Int] = [:]

    init(_ factory: any MetricsFactory, loop: Int) {
        self.factory = factory
        self.loop = String(loop)
    }

    /// The modules' numbers since the process began.
    func moduleTotals(_ world: World) -> [String: Int] {
        var sums = totals
        Self.forEachCounter(of: world) { sums["\($0.module)_\($0.name)", default: 0] += $0.value }
        return sums
    }

    /// Passes on what has grown since the last time.
    func collect(_ shard: Shard) {
        let (now, before) = (shard.counts, reported)
        reported = now
        for (name, value) in ShardCounts.names { add(now[keyPath: value] - before[keyPath: value], to: name) }
        Self.forEachCounter(of: shard.world) { counter in
            let name = "\(counter.module)_\(counter.name)"
            add(counter.value, to: name)
            totals[name, default: 0] += counter.value
            counter.value = 0
        }
        set("sessions", shard.sessions.count)
        set("accounts_in_memory", shard.accounts.count)
        set("entities_in_memory", shard.entities.count)
    }

    private static func forEachCounter(of world: World, _ body: (ModuleKit.Counter) -> Void) {
        var seen: Set<ObjectIdentifier> = []
        for table in world.hosts.values where seen.insert(ObjectIdentifier(table)).inserted {
            for counter in table.counters { body(counter) }
        }
    }

    private func add(_ growth: Int, to name: String) {
        guard growth > 0 else { return }
        let counter = counters[name] ?? CoreMetrics.Counter(label: "martlet_\(name)", factory: factory)
        counters[name] = counter
        counter.increment(by: growth)
    }

    private func set(_ name: String, _ value: Int) {
        let gauge =
            gauges[name] ?? CoreMetrics.Meter(label: "martlet_\(name)", dimensions: [("loop", loop)], factory: factory)
        gauges[name] = gauge
        gauge.set(value)
    }
}

extension ShardCounts {
    /// As `martlet status` and metrics backends see them.
    static var names: [(String, KeyPath<ShardCounts, Int>)] {
        [
            ("stanzas_received", \.received), ("stanzas_delivered", \.delivered), ("stanzas_bounced", \.bounced),
            ("messages_spilled", \.spilled), ("sessions_resumed", \.resumed), ("sessions_conflicting", \.conflicts),
            ("stanzas_repeated", \.repeated), ("sessions_evicted", \.evicted), ("sessions_idle", \.idle),
            ("reading_slowed", \.slowed), ("replies_lost", \.lostReplies),
            ("account_loads", \.loads), ("account_loads_failed", \.failedLoads), ("commits_failed", \.failedCommits),
            ("messages_unreadable", \.unreadable),
        ]
    }
}

extension Shard {
    func collectMetrics() { metrics.collect(self) }
}
