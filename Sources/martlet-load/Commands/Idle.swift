import ArgumentParser

/// What a session costs that does nothing.
struct Idle: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Sessions with presence that do nothing: bytes per session.",
        discussion: """
            Userland bytes are the growth of the processes' anonymous memory; kernel bytes are those of the whole
            machine, so of both ends. The marginal figure leaves the first tenth of the sessions out, and with it what
            is allocated once.
            """)

    @OptionGroup var target: TargetOptions

    @Option(help: "Seconds to stay, in which the CPU is measured too.")
    var seconds = 5.0

    func run() throws {
        let probe = try target.probe()
        let first = max(2, target.users / 10)
        let empty = probe.memory()
        let early = try Crew(target.settings, first: target.firstUser, count: first, threads: target.threads)
        try early.login()
        probe.waitUntilQuiet(atMost: 2)
        let some = probe.memory()
        let rest = try Crew(
            target.settings, first: target.firstUser + first / 2 * 2, count: target.users - first / 2 * 2,
            threads: target.threads)
        try rest.login()
        // Both crews must be read from, or what the server sends would pile up.
        probe.waitUntilQuiet(atMost: 5)
        let start = Clock.now()
        let cpu = probe.cpu()
        let end = start + UInt64(seconds: seconds)
        while Clock.now() < end {
            for crew in [early, rest] { try crew.each { $0.turn(atMost: 20_000_000) } }
        }
        let used = probe.cpu() - cpu
        let full = probe.memory()

        var report = target.report("idle")
        report.set("seconds", (Clock.now() - start).seconds)
        let users = Double(target.users)
        let later = users - Double(first / 2 * 2)
        report.set("userland_bytes_per_session", Double(full.anonymous - empty.anonymous) / users)
        report.set("marginal_bytes_per_session", Double(full.anonymous - some.anonymous) / later)
        report.set("private_dirty_bytes_per_session", Double(full.privateDirty - empty.privateDirty) / users)
        report.set("pss_bytes_per_session", Double(full.proportional - empty.proportional) / users)
        report.set("kernel_slab_bytes_per_session", Double(full.slab - empty.slab) / users)
        report.set("kernel_tcp_buffer_bytes_per_session", Double(full.tcpBuffers - empty.tcpBuffers) / users)
        report.set("server_anonymous_bytes", full.anonymous)
        report.set("server_resident_bytes", full.resident)
        report.set("server_cpu_ms_per_second", used.seconds * 1000 / seconds)
        early.leave()
        rest.leave()
        report.print()
    }
}
