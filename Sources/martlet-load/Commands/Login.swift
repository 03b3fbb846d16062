import ArgumentParser

/// Everybody comes at once.
struct Login: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Login storm: CPU per login, from the connection to the presence that comes back.")

    @OptionGroup var target: TargetOptions

    @Option(help: "Times that everybody logs in, each measured, one after the other.")
    var rounds = 1

    func run() throws {
        let probe = try target.probe()
        var latencies = Histogram()
        var used: UInt64 = 0
        var duration: UInt64 = 0
        for _ in 0..<max(1, rounds) {
            probe.waitUntilQuiet(atMost: 3)
            let crew = try target.crew(target.settings)
            let start = Clock.now()
            let cpu = probe.cpu()
            try crew.login()
            duration += Clock.now() - start
            probe.waitUntilQuiet(atMost: 1)
            used += probe.cpu() - cpu
            latencies.merge(crew.loginLatencies)
            crew.leave()
        }
        var report = target.report("login")
        report.set("rounds", rounds)
        report["mechanism"] = target.plain ? "PLAIN" : "SCRAM"
        report.set("seconds", duration.seconds)
        report.set("logins_per_second", Double(latencies.count) / duration.seconds)
        if !probe.isEmpty { report.set("server_cpu_us_per_login", Double(used) / 1000 / Double(latencies.count)) }
        report.set(latencies)
        report.print()
    }
}
