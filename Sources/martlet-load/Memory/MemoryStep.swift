/// All figures of one number of sessions.
struct MemoryStep {
    let sessions: Int
    private(set) var figures: [(key: String, value: Double)] = []

    static let routingKeys = ["same_loop_cpu_us_per_message", "cross_loop_cpu_us_per_message"]

    init(sessions: Int) {
        self.sessions = sessions
    }

    subscript(key: String) -> Double { figures.first { $0.key == key }?.value ?? .nan }

    private mutating func set(_ key: String, _ value: Double) {
        figures.append((key, value))
    }

    mutating func measure(_ logins: MemoryRun.Logins, _ count: Int) {
        let count = Double(max(1, count))
        set("cpu_us_per_login", Double(logins.server) / 1000 / count)
        set("client_cpu_us_per_login", Double(logins.clients) / 1000 / count)
        set("logins_per_second", count / logins.duration.seconds)
    }

    /// - Parameter transport: Bytes of one client's end, which are part of what a session costs here.
    mutating func measure(
        _ memory: OwnMemory, since base: OwnMemory, _ last: (sessions: Int, memory: OwnMemory), transport: Int
    ) {
        let (count, new) = (Double(sessions), Double(sessions - last.sessions))
        let allocated = Double(memory.allocated - base.allocated) / count
        set("resident_bytes_per_session", Double(memory.resident - base.resident) / count)
        set("allocated_bytes_per_session", allocated)
        set("allocated_bytes_without_transport", allocated - Double(transport))
        set("marginal_bytes_per_session", Double(memory.allocated - last.memory.allocated) / new)
        set("transport_bytes", Double(transport))
    }

    /// The run of median cost.
    mutating func measure(_ runs: [MemoryRun.Routing], crossing: Bool) {
        let sorted = runs.sorted { $0.server < $1.server }
        let run = sorted[sorted.count / 2]
        let count = Double(run.messages)
        let name = crossing ? "cross_loop" : "same_loop"
        set("\(name)_cpu_us_per_message", Double(run.server) / 1000 / count)
        set("\(name)_preparation_us_per_message", Double(run.preparation) / 1000 / count)
        set("\(name)_rendered_bytes", Double(run.bytes) / count)
    }

    // MARK: For people

    private static let titles = [
        ("resident_bytes_per_session", "resident bytes per session"),
        ("allocated_bytes_per_session", "allocated bytes per session"),
        ("allocated_bytes_without_transport", "… without the transport object"),
        ("marginal_bytes_per_session", "… of the sessions since the last step"),
        ("cpu_us_per_login", "CPU µs per login"),
        ("same_loop_cpu_us_per_message", "CPU µs per message, same loop"),
        ("cross_loop_cpu_us_per_message", "CPU µs per message, across loops"),
    ]

    static func table(_ steps: [MemoryStep]) -> String {
        let head = ["sessions"] + steps.map { "\($0.sessions)" }
        let lines = [head] + titles.map { key, title in [title] + steps.map { text($0[key]) } }
        let widths = head.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { line in
            line.indices.map { column in
                let space = String(repeating: " ", count: widths[column] - line[column].count)
                return column == 0 ? line[column] + space : space + line[column]
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    private static func text(_ value: Double) -> String {
        guard value.isFinite else { return "-" }
        return abs(value) >= 100 ? "\(Int(value.rounded()))" : "\((value * 100).rounded() / 100)"
    }
}
