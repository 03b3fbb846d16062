import ArgumentParser
import CLoadShims

/// Messages at times fixed beforehand, whether the server keeps up or not.
struct OpenLoop: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "open",
        abstract: "Open loop: a fixed rate, latencies from the time a message was due.",
        discussion: "A server that stalls pays for all that was due meanwhile (no coordinated omission).")

    @OptionGroup var target: TargetOptions

    @Option(help: "Messages per second, all users together.")
    var rate = 1000.0

    @Option(help: "Bytes per message.")
    var size = 290

    @Option(help: "Seconds to measure.")
    var seconds = 10.0

    @Option(help: "Seconds before that.")
    var warmup = 1.0

    func validate() throws {
        guard target.users % 2 == 0, rate > 0 else { throw ValidationError("--users must be even, --rate positive") }
    }

    func run() throws {
        let probe = try target.probe()
        let crew = try target.crew(target.settings)
        try crew.login()
        let count = crew.workers.count
        let began = Clock.now()
        let schedules = crew.workers.enumerated().map { number, worker in
            let interval = 1e9 / rate
            let schedule = Schedule(
                start: Double(began) + interval * Double(number), interval: interval * Double(count))
            worker.workload = schedule
            return schedule
        }
        let size = size
        let middle = began + UInt64(seconds: warmup)
        try crew.each { worker in
            worker.prepareMessages(size: size)
            (worker.workload as? Schedule)?.run(worker, until: middle)
        }
        for schedule in schedules { schedule.reset() }

        let start = Clock.now()
        let cpu = probe.cpu()
        let ownCPU = Clock.ownCPU()
        let end = start + UInt64(seconds: seconds)
        try crew.each { worker in (worker.workload as? Schedule)?.run(worker, until: end) }
        let duration = (Clock.now() - start).seconds
        let used = probe.cpu() - cpu
        let ownUsed = Clock.ownCPU() - ownCPU
        let messages = schedules.reduce(0) { $0 + $1.delivered }
        try crew.each { worker in (worker.workload as? Schedule)?.collect(worker) }

        var report = target.report("open")
        report.set("rate", rate)
        report.set("seconds", duration)
        report.set("messages", messages)
        report.set("messages_per_second", Double(messages) / duration)
        if !probe.isEmpty {
            report.set("server_cpu_us_per_message", Double(used) / 1000 / Double(messages))
            report.set("server_cpu_share", used.seconds / duration)
        }
        report.set("client_cpu_us_per_message", Double(ownUsed) / 1000 / Double(messages))
        report.set(schedules.reduce(into: Histogram()) { $0.merge($1.latencies) })
        let lateness = schedules.reduce(into: Histogram()) { $0.merge($1.lateness) }
        report.set("client_late_p99_us", Double(lateness.percentile(0.99)) / 1000)
        report.set("lost", schedules.reduce(0) { $0 + $1.underWay })
        report.set("errors", schedules.reduce(0) { $0 + $1.errors })
        crew.leave()
        report.print()
    }
}

/// One worker's share of the due times.
final class Schedule: Workload {
    /// From the due time to the arrival, the generator's own lateness included.
    private(set) var latencies = Histogram()
    /// How much later than due messages were written: how far the generator itself is to blame.
    private(set) var lateness = Histogram()
    private(set) var delivered = 0
    private(set) var errors = 0
    private(set) var underWay = 0
    private var next: Double
    private let interval: Double
    private var turn = 0

    init(start: Double, interval: Double) {
        next = start
        self.interval = interval
    }

    func run(_ worker: Worker, until end: UInt64) {
        _ = load_set_timer_slack(1000)
        while true {
            let now = Clock.now()
            guard now < end else { return }
            while UInt64(next) <= now {
                let connection = worker.connections[turn % worker.connections.count]
                turn += 1
                connection.append(connection.message, number: UInt64(next))
                worker.flush(connection)
                lateness.record(Clock.now() &- UInt64(next))
                underWay += 1
                next += interval
            }
            worker.turn(atMost: Int64(min(UInt64(next), end)) - Int64(min(Clock.now(), min(UInt64(next), end))))
        }
    }

    func received(_ message: MessageHead, on connection: Connection, by worker: Worker, at now: UInt64) {
        guard !message.isError else { return errors += 1 }
        guard let due = message.number else { return }
        latencies.record(now &- due)
        delivered += 1
        underWay -= 1
    }

    func reset() {
        latencies = Histogram()
        lateness = Histogram()
        delivered = 0
    }

    /// Waits for what is still under way.
    func collect(_ worker: Worker) {
        worker.turn(until: Clock.now() + 5_000_000_000) { self.underWay == 0 }
    }
}
