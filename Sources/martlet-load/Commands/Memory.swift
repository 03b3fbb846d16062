import ArgumentParser
import Glibc

/// A million sessions without a socket: what each costs, and what routing costs among so many.
struct Memory: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The server's core in this very process, with clients in memory: bytes and routing per session.",
        discussion: """
            The server is the real one, with all modules, its event loops and a storage in memory; only sockets and
            the connections' parsers are missing. Clients log in by the whole negotiation and stay; at each step the
            memory of all so far is measured, and messages between random ones of them.
            """)

    @Option(help: "Sessions at the end.")
    var sessions = 1_000_000

    @Option(help: "Numbers of sessions to measure at on the way, divided by commas.")
    var steps = "10000,100000,1000000"

    @Option(help: "Event loops of the server.")
    var loops = 2

    @Option(help: "Messages per figure.")
    var messages = 1_000_000

    @Option(help: "Times that messages are measured; the median counts.")
    var repeats = 3

    @Option(help: "Bytes per message.")
    var size = 290

    @Option(help: "Logins under way at a time.")
    var concurrency = 64

    @Option(help: "Where the result goes as JSON, beside standard output.")
    var json: String?

    func validate() throws {
        guard sessions > 0, sessions < 10_000_000 else { throw ValidationError("--sessions must be 1 to 9999999") }
        guard loops > 1, loops <= 64 else { throw ValidationError("--loops must be 2 to 64") }
        guard messages > 0, repeats > 0, concurrency > 0 else {
            throw ValidationError("--messages, --repeats and --concurrency must be positive")
        }
        guard wanted.allSatisfy({ $0 >= 100 }) else { throw ValidationError("a step needs 100 sessions") }
    }

    /// Ascending.
    private var wanted: [Int] {
        let steps = steps.split(separator: ",").compactMap { Int($0.trimmingPrefix(" ")) }
        return Set(steps.filter { $0 < sessions } + [sessions]).sorted()
    }

    func run() throws {
        let empty = OwnMemory.now()
        let server = try MemoryRun(loops: loops, capacity: sessions)
        let started = OwnMemory.now()
        try server.makeAccounts(sessions)
        server.settle()
        let base = OwnMemory.trimmed()
        var report = Report("memory")
        report.set("sessions", sessions)
        report.set("loops", loops)
        report.set("messages", messages)
        report.set("message_bytes", size)
        let places = LoopDriver.placeBytes * sessions * loops
        report.set("client_places_bytes", places)
        report.set("empty_server_allocated_bytes", started.allocated - empty.allocated - places)
        report.set("account_allocated_bytes", Double(base.allocated - started.allocated) / Double(sessions))
        report.set("account_resident_bytes", Double(base.resident - started.resident) / Double(sessions))
        var columns: [MemoryStep] = []
        var last = (sessions: 0, memory: base)
        for count in wanted {
            var step = MemoryStep(sessions: count)
            step.measure(try server.logIn(upTo: count, concurrency: concurrency), count - last.sessions)
            let memory = OwnMemory.now()
            step.measure(memory, since: base, last, transport: server.transportBytes)
            last = (count, memory)
            for crossing in [false, true] {
                let runs = try (0..<repeats).map { _ in
                    try server.route(messages: messages, size: size, crossing: crossing)
                }
                step.measure(runs, crossing: crossing)
            }
            columns.append(step)
            for (key, value) in step.figures { report.set("\(key)_\(count)", value) }
        }
        if let first = columns.first, let last = columns.last, columns.count > 1 {
            for key in MemoryStep.routingKeys { report.set("growth_\(key)", last[key] / first[key]) }
        }
        Swift.print(MemoryStep.table(columns))
        report.print()
        if let json { try report.write(to: json) }
        // The server has no client that would hear of its end, and a million sessions would take a while to end.
        Glibc.exit(0)
    }
}
