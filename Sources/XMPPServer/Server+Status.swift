import ModuleKit

/// How the server is doing, in numbers.
extension Server {
    func status() async -> CommandOutput {
        struct Part: Sendable {
            var counts: ShardCounts
            var sessions: Int
            var detached: Int
            var accounts: Int
            var entities: Int
            var modules: [String: Int]
        }
        let parts = await onEachShard { shard in
            Part(
                counts: shard.counts, sessions: shard.sessions.count,
                detached: shard.sessions.values.count { !$0.isConnected }, accounts: shard.accounts.count,
                entities: shard.entities.count, modules: shard.metrics.moduleTotals(shard.world))
        }
        func sum(_ value: (Part) -> Int) -> String { String(parts.reduce(0) { $0 + value($1) }) }
        let logins = logins
        var rows = [
            ["sessions", sum(\.sessions)], ["sessions_detached", sum(\.detached)],
            ["connections_without_session", String(admission.counts.open)],
            ["connections_refused", String(admission.counts.refused)],
            ["connections_logged_in", String(admission.counts.seated)],
            ["logins_crowded", String(admission.counts.seatsRefused)],
            ["logins", String(logins.authenticated)], ["logins_rejected", String(logins.rejected)],
            ["logins_timed_out", String(logins.timedOut)], ["logins_delayed", String(logins.delayed)],
            ["logins_throttled", String(logins.throttled)], ["logins_not_offered", String(logins.notOffered)],
            [
                "logins_out_of_turn",
                String(logins.outOfTurn + parts.reduce(0) { $0 + $1.counts.authenticationsOutOfTurn }),
            ],
            ["logins_without_keys", String(logins.withoutKeys)], ["accounts_in_memory", sum(\.accounts)],
            ["entities_in_memory", sum(\.entities)], ["stanzas_received", sum(\.counts.received)],
            ["stanzas_delivered", sum(\.counts.delivered)], ["stanzas_bounced", sum(\.counts.bounced)],
            ["messages_spilled", sum(\.counts.spilled)], ["sessions_resumed", sum(\.counts.resumed)],
            ["sessions_conflicting", sum(\.counts.conflicts)], ["sessions_idle", sum(\.counts.idle)],
            ["reading_slowed", sum(\.counts.slowed)],
            ["account_loads", sum(\.counts.loads)], ["account_loads_failed", sum(\.counts.failedLoads)],
            ["commits_failed", sum(\.counts.failedCommits)],
            ["storage_pressed", storage.isPressed ? "yes" : "no"],
        ]
        var modules: [String: Int] = [:]
        for part in parts { modules.merge(part.modules, uniquingKeysWith: +) }
        rows += modules.sorted { $0.key < $1.key }.map { [$0.key, String($0.value)] }
        return .table(columns: ["what", "value"], rows: rows)
    }
}
