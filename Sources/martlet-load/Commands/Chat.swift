import ArgumentParser

/// Pairs of users who answer each message with the next one.
struct Chat: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Closed loop: pairs who answer each message with the next.",
        discussion: "So the server is always busy: read the CPU per message; latencies are those of a full server.")

    @OptionGroup var target: TargetOptions

    @Option(help: "Messages under way per pair.")
    var window = 1

    @Option(help: "Bytes per message.")
    var size = 290

    @Option(help: "Seconds to measure.")
    var seconds = 10.0

    @Option(help: "Seconds before that.")
    var warmup = 2.0

    func validate() throws {
        guard target.users % 2 == 0, window > 0 else {
            throw ValidationError("--users must be even, --window positive")
        }
    }

    func run() throws {
        let probe = try target.probe()
        let crew = try target.crew(target.settings)
        try crew.login()
        let loops = crew.workers.map { worker in
            let loop = ClosedLoop(settings: target.settings, window: window, size: size)
            worker.workload = loop
            return loop
        }
        let warm = UInt64(seconds: warmup)
        try crew.each { worker in
            (worker.workload as? ClosedLoop)?.start(worker)
            worker.turn(until: Clock.now() + warm)
        }
        for loop in loops { loop.reset() }

        let start = Clock.now()
        let cpu = probe.cpu()
        let ownCPU = Clock.ownCPU()
        let end = start + UInt64(seconds: seconds)
        try crew.each { $0.turn(until: end) }
        let duration = (Clock.now() - start).seconds
        let used = probe.cpu() - cpu
        let ownUsed = Clock.ownCPU() - ownCPU
        let messages = loops.reduce(0) { $0 + $1.delivered }
        let latencies = loops.reduce(into: Histogram()) { $0.merge($1.latencies) }

        try crew.each { worker in (worker.workload as? ClosedLoop)?.stop(worker) }
        var report = target.report("chat")
        report.set("window", window)
        report.set("seconds", duration)
        report.set("messages", messages)
        report.set("messages_per_second", Double(messages) / duration)
        if !probe.isEmpty {
            report.set("server_cpu_us_per_message", Double(used) / 1000 / Double(messages))
            report.set("server_cpu_share", used.seconds / duration)
        }
        report.set("client_cpu_us_per_message", Double(ownUsed) / 1000 / Double(messages))
        report.set(latencies)
        report.set("lost", loops.reduce(0) { $0 + $1.underWay })
        report.set("errors", loops.reduce(0) { $0 + $1.errors })
        crew.leave()
        report.print()
    }
}

/// One worker's pairs of a closed loop.
final class ClosedLoop: Workload {
    private(set) var latencies = Histogram()
    private(set) var delivered = 0
    private(set) var errors = 0
    private(set) var underWay = 0
    private var isStopping = false
    private let settings: Settings
    private let window: Int
    private let size: Int

    init(settings: Settings, window: Int, size: Int) {
        self.settings = settings
        self.window = window
        self.size = size
    }

    func start(_ worker: Worker) {
        worker.prepareMessages(size: size)
        for connection in worker.connections {
            // Every second message of a pair's window starts at its other end.
            let share = connection.user % 2 == 0 ? (window + 1) / 2 : window / 2
            let now = Clock.now()
            for _ in 0..<share { connection.append(connection.message, number: now) }
            underWay += share
            worker.flush(connection)
        }
    }

    func received(_ message: MessageHead, on connection: Connection, by worker: Worker, at now: UInt64) {
        guard !message.isError else { return errors += 1 }
        guard let sent = message.number else { return }
        latencies.record(now &- sent)
        delivered += 1
        if isStopping {
            underWay -= 1
        } else {
            connection.append(connection.message, number: now)
        }
    }

    func reset() {
        latencies = Histogram()
        delivered = 0
    }

    /// No more answers; what is under way may still arrive.
    func stop(_ worker: Worker) {
        isStopping = true
        worker.turn(until: Clock.now() + 5_000_000_000) { self.underWay == 0 }
    }
}

extension Worker {
    /// Every user's message to the other one of its pair.
    func prepareMessages(size: Int) {
        for connection in connections {
            connection.message = MessageTemplate(
                from: connection.address, to: connections[connection.place ^ 1].address, size: size,
                suffix: settings.streamManagement ? "<r xmlns='urn:xmpp:sm:3'/>" : "")
        }
    }
}
