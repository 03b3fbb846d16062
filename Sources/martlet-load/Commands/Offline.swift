import ArgumentParser

/// Messages to people who are away, and their coming back.
struct Offline: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Messages to offline accounts, then their logins: CPU per stored and per fetched message.",
        discussion: """
            The first --users accounts send (with --sm: the message is stored when it is acknowledged, --window of
            them are under way per sender; without: all at once, and a ping behind them), the next accounts receive.
            Every message must come once and in order. Fetching is measured from the presence on, without the login.
            """)

    @OptionGroup var target: TargetOptions

    @Option(help: "Messages in all.")
    var messages = 10_000

    @Option(help: "Messages per receiver.")
    var perReceiver = 100

    @Option(help: "With --sm: messages of one sender that are not acknowledged yet.")
    var window = 10

    @Option(help: "Bytes per message.")
    var size = 290

    @Flag(help: "The receivers use stream management too.")
    var receiverSm = false

    func validate() throws {
        guard !target.relay, perReceiver > 0, messages % perReceiver == 0, window > 0 else {
            throw ValidationError("--messages must be a multiple of --per-receiver, and the relay keeps nothing")
        }
    }

    func run() throws {
        let probe = try target.probe()
        let receivers = messages / perReceiver
        let firstReceiver = target.firstUser + (target.users + 1) / 2 * 2
        var away = target.settings
        away.presence = false
        away.streamManagement = receiverSm
        // What earlier runs left is taken away first.
        _ = try fetch(away, firstReceiver, receivers, expecting: 0, probe)

        var sending = target.settings
        sending.presence = false
        let senders = try target.crew(sending)
        try senders.login()
        let fills = senders.workers.map { worker in
            let fill = OfflineFill(self, receivers: receivers, firstReceiver: firstReceiver)
            worker.workload = fill
            return fill
        }
        probe.waitUntilQuiet(atMost: 3)
        let start = Clock.now()
        let cpu = probe.cpu()
        let patience = UInt64(seconds: target.patience)
        try senders.each { worker in (worker.workload as? OfflineFill)?.run(worker, until: Clock.now() + patience) }
        let duration = Clock.now() - start
        probe.waitUntilQuiet(atMost: 3)
        let stored = probe.cpu() - cpu
        let done = fills.reduce(0) { $0 + $1.done }
        senders.leave()

        let (fetched, drain) = try fetch(away, firstReceiver, receivers, expecting: messages, probe)
        let (again, _) = try fetch(away, firstReceiver, receivers, expecting: 0, probe)

        var report = target.report("offline")
        report.set("messages", messages)
        report.set("receivers", receivers)
        report.set("receiver_sm", receiverSm)
        report.set("fill_seconds", duration.seconds)
        report.set("confirmed", done)
        report.set("stored_per_second", Double(messages) / duration.seconds)
        report.set("fetch_seconds", drain.duration.seconds)
        if !probe.isEmpty {
            report.set("server_cpu_us_per_stored", Double(stored) / 1000 / Double(messages))
            report.set("server_cpu_us_per_fetched", Double(drain.cpu) / 1000 / Double(messages))
        }
        report.set("lost", messages - fetched.reduce(0) { $0 + $1.unique })
        report.set("duplicates", fetched.reduce(0) { $0 + $1.count - $1.unique })
        report.set("disordered", fetched.reduce(0) { $0 + $1.disordered })
        report.set("fetched_again", again.reduce(0) { $0 + $1.count })
        report.set("errors", fills.reduce(0) { $0 + $1.errors })
        report.print()
    }

    /// Logs the receivers in, then lets them appear and waits for their messages.
    private func fetch(
        _ settings: Settings, _ first: Int, _ count: Int, expecting: Int, _ probe: ServerProbe
    ) throws -> ([OfflineDrain], (cpu: UInt64, duration: UInt64)) {
        let crew = try Crew(settings, first: first, count: count, threads: target.threads)
        try crew.login()
        let drains = crew.workers.map { worker in
            let drain = OfflineDrain(messages: messages, perReceiver: perReceiver, firstReceiver: first)
            worker.workload = drain
            return drain
        }
        probe.waitUntilQuiet(atMost: 3)
        let start = Clock.now()
        let cpu = probe.cpu()
        let patience = UInt64(seconds: expecting == 0 ? 1 : min(30, target.patience))
        let awaited = expecting == 0 ? nil : perReceiver
        try crew.each { worker in
            (worker.workload as? OfflineDrain)?.run(worker, each: awaited, until: Clock.now() + patience)
        }
        let duration = Clock.now() - start
        probe.waitUntilQuiet(atMost: 3)
        let used = probe.cpu() - cpu
        crew.leave()
        return (drains, (used, duration))
    }
}

/// One worker's senders. The message `number` is the `number % perReceiver`-th to receiver `number / perReceiver`,
/// and all messages to one receiver have one sender.
final class OfflineFill: Workload {
    /// Messages that the server has answered for.
    private(set) var done = 0
    private(set) var errors = 0
    private let plan: Offline
    private let receivers: Int
    private let firstReceiver: Int
    private var templates: [[MessageTemplate]] = []
    private var confirmed: [Int] = []

    init(_ plan: Offline, receivers: Int, firstReceiver: Int) {
        self.plan = plan
        self.receivers = receivers
        self.firstReceiver = firstReceiver
    }

    func run(_ worker: Worker, until deadline: UInt64) {
        var expected = 0
        confirmed = worker.connections.map { _ in 0 }
        for connection in worker.connections {
            templates.append(
                mine(connection).map { receiver in
                    MessageTemplate(
                        from: connection.address, to: "\(worker.settings.user(receiver))@\(worker.settings.host)",
                        size: plan.size, suffix: connection.isManaged ? "<r xmlns='urn:xmpp:sm:3'/>" : "")
                })
            expected += total(connection)
        }
        for connection in worker.connections {
            send(connection)
            if !connection.isManaged {
                connection.append(
                    "<iq type='get' id='done' to='\(worker.settings.host)'><ping xmlns='urn:xmpp:ping'/></iq>")
            }
            worker.flush(connection)
        }
        worker.turn(until: deadline) { self.done >= expected }
    }

    private func send(_ connection: Connection) {
        let templates = templates[connection.place]
        let total = total(connection)
        let limit = connection.isManaged ? min(total, confirmed[connection.place] + plan.window) : total
        while connection.counter < limit {
            let which = connection.counter % templates.count
            let receiver = connection.place(of: which, every: plan.target.users, from: plan.target.firstUser)
            let number = receiver * plan.perReceiver + connection.counter / templates.count
            connection.append(templates[which], number: UInt64(number))
            connection.counter += 1
        }
    }

    func confirmed(on connection: Connection, by worker: Worker) {
        let count = Int(connection.confirmed)
        done += count - confirmed[connection.place]
        confirmed[connection.place] = count
        send(connection)
    }

    func answered(_ iq: Slice, on connection: Connection, by worker: Worker) {
        if iq.attribute("id") == "done" { done += total(connection) }
    }

    func received(_ message: MessageHead, on connection: Connection, by worker: Worker, at now: UInt64) {
        if message.isError { errors += 1 }
    }

    private func mine(_ connection: Connection) -> [Int] {
        stride(from: connection.user - plan.target.firstUser, to: receivers, by: plan.target.users)
            .map { firstReceiver + $0 }
    }

    private func total(_ connection: Connection) -> Int {
        mine(connection).count * plan.perReceiver
    }
}

extension Connection {
    /// The number of a sender's `which`-th receiver, when the receivers are dealt out in turn.
    fileprivate func place(of which: Int, every senders: Int, from firstUser: Int) -> Int {
        user - firstUser + which * senders
    }
}

/// One worker's receivers.
final class OfflineDrain: Workload {
    private(set) var count = 0
    private(set) var unique = 0
    private(set) var disordered = 0
    private let perReceiver: Int
    private let firstReceiver: Int
    private var seen: [Bool]
    private var last: [Int]

    init(messages: Int, perReceiver: Int, firstReceiver: Int) {
        self.perReceiver = perReceiver
        self.firstReceiver = firstReceiver
        seen = [Bool](repeating: false, count: messages)
        last = [Int](repeating: -1, count: messages / perReceiver)
    }

    /// - Parameter expected: What each receiver waits for; nil: whatever comes until the deadline.
    func run(_ worker: Worker, each expected: Int?, until deadline: UInt64) {
        for connection in worker.connections {
            worker.sendPresence(connection)
            worker.flush(connection)
        }
        let all = expected.map { $0 * worker.connections.count }
        worker.turn(until: deadline) { all.map { self.unique >= $0 } ?? false }
    }

    func received(_ message: MessageHead, on connection: Connection, by worker: Worker, at now: UInt64) {
        guard !message.isError, let number = message.number.flatMap({ Int(exactly: $0) }), number < seen.count else {
            return
        }
        count += 1
        guard !seen[number] else { return }
        seen[number] = true
        unique += 1
        let receiver = connection.user - firstReceiver
        guard number / perReceiver == receiver else { return disordered += 1 }
        if number <= last[receiver] { disordered += 1 }
        last[receiver] = max(last[receiver], number)
    }
}
