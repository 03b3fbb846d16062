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
        let (logins, connections) = (logins, admission.counts)
        var rows = [
            ["sessions", sum(\.sessions)], ["sessions_detached", sum(\.detached)],
            ["connections_without_session", String(connections.open.total)],
            ["connections_refused", String(connections.open.refused)],
            ["connections_logged_in", String(connections.seated.total)],
            ["logins_crowded", String(connections.seated.refused)],
            ["logins", String(logins.authenticated)], ["logins_rejected", String(logins.rejected)],
            ["logins_timed_out", String(logins.timedOut)], ["logins_delayed", String(logins.delayed)],
            ["logins_throttled", String(logins.throttled)], ["logins_not_offered", String(logins.notOffered)],
            [
                "logins_out_of_turn",
                String(logins.outOfTurn + parts.reduce(0) { $0 + $1.counts.authenticationsOutOfTurn }),
            ],
            ["logins_without_keys", String(logins.withoutKeys)], ["accounts_in_memory", sum(\.accounts)],
            ["entities_in_memory", sum(\.entities)], ["storage_pressed", storage.isPressed ? "yes" : "no"],
        ]
        rows += ShardCounts.names.map { name, value in [name, sum { $0.counts[keyPath: value] }] }
        var modules: [String: Int] = [:]
        for part in parts { modules.merge(part.modules, uniquingKeysWith: +) }
        rows += modules.sorted { $0.key < $1.key }.map { [$0.key, String($0.value)] }
        return .table(columns: ["what", "value"], rows: rows)
    }
}
