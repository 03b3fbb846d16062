import ArgumentParser

/// Rosters fill up: everybody subscribes to everybody near, and everybody approves.
struct Befriend: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Roster storm: CPU per subscription, from the request to what the contact sees of the approval.",
        discussion: """
            The users stand in a ring, and each subscribes to so many of those next to it on both sides. What other
            modes measure with --roster afterwards are users with that many contacts.
            """)

    @OptionGroup var target: TargetOptions

    @Option(help: "Contacts of each user; even, and fewer than users.")
    var contacts = 50

    func validate() throws {
        guard contacts > 0, contacts % 2 == 0, contacts < target.users else {
            throw ValidationError("--contacts must be even, positive and less than --users")
        }
    }

    func run() throws {
        let probe = try target.probe()
        var settings = target.settings
        settings.roster = true
        let crew = try target.crew(settings)
        try crew.login()
        probe.waitUntilQuiet(atMost: 2)
        let storms = crew.workers.map { worker in
            let storm = RosterStorm(target, contacts)
            worker.workload = storm
            return storm
        }
        let start = Clock.now()
        let cpu = probe.cpu()
        let deadline = start + UInt64(seconds: target.patience)
        let expected = target.users * contacts
        try crew.each { worker in
            guard let storm = worker.workload as? RosterStorm else { return }
            storm.ask(worker)
            let wanted = worker.connections.count * contacts
            worker.turn(until: deadline) { storm.granted >= wanted && storm.appeared >= wanted }
        }
        let duration = (Clock.now() - start).seconds
        let used = probe.cpu() - cpu
        let granted = storms.reduce(0) { $0 + $1.granted }
        crew.leave()
        var report = target.report("befriend")
        report.set("contacts", contacts)
        report.set("seconds", duration)
        report.set("subscriptions", granted)
        report.set("subscriptions_per_second", Double(granted) / duration)
        if !probe.isEmpty {
            report.set("server_cpu_us_per_subscription", Double(used) / 1000 / Double(max(1, granted)))
        }
        report.set("lost", expected - granted)
        report.set("errors", storms.reduce(0) { $0 + $1.errors })
        report.print()
    }
}

/// One worker's users: each asks its contacts a few at a time, and approves whatever it is asked.
final class RosterStorm: Workload {
    /// Requests of a user that wait for their answer.
    private static let window = 5

    private let settings: Settings
    private let users: Int
    private let first: Int
    private let contacts: Int
    private var asked: [Int: Int] = [:]
    private(set) var granted = 0
    /// Presence of contacts that came behind approvals.
    private(set) var appeared = 0
    private(set) var errors = 0

    init(_ target: TargetOptions, _ contacts: Int) {
        settings = target.settings
        users = target.users
        first = target.firstUser
        self.contacts = contacts
    }

    func ask(_ worker: Worker) {
        for connection in worker.connections {
            for _ in 0..<Self.window { askNext(connection) }
            worker.flush(connection)
        }
    }

    private func askNext(_ connection: Connection) {
        let index = asked[connection.user, default: 0]
        guard index < contacts else { return }
        asked[connection.user] = index + 1
        // One on each side, then the next ones.
        let distance = index % 2 == 0 ? index / 2 + 1 : -(index / 2 + 1)
        let place = (connection.user - first + distance + users) % users
        connection.append("<presence to='\(settings.user(first + place))@\(settings.host)' type='subscribe'/>")
        connection.sent &+= 1
    }

    func received(_ message: MessageHead, on connection: Connection, by worker: Worker, at now: UInt64) {}

    func met(_ presence: Slice, on connection: Connection, by worker: Worker) {
        switch presence.attribute("type") {
        case "subscribe":
            guard let from = presence.attribute("from") else { return }
            connection.append("<presence to='\(from)' type='subscribed'/>")
            connection.sent &+= 1
        case "subscribed":
            granted += 1
            askNext(connection)
        case "error": errors += 1
        case nil: appeared += 1
        default: break
        }
        worker.flush(connection)
    }

    func answered(_ iq: Slice, on connection: Connection, by worker: Worker) {
        // A roster push wants to be confirmed.
        guard iq.attribute("type") == "set", let id = iq.attribute("id") else { return }
        connection.append("<iq type='result' id='\(id)'/>")
        connection.sent &+= 1
    }
}
