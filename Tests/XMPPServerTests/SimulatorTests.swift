import Archive
import Carbons
import ClientState
import Glibc
import Messages
import ModuleKit
import ModuleTesting
import Offline
import Presence
import Roster
import Testing

@Suite struct SimulatorTests {
    static let modules: [any Module.Type] = [
        RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, CarbonsModule.self,
        ClientStateModule.self,
    ]

    /// Every other seed has an archive.
    private static func modules(_ seed: UInt64) -> [any Module.Type] {
        seed % 2 == 0 ? modules + [ArchiveModule.self] : modules
    }

    private static func number(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    /// `SIMULATOR_SEEDS=100000` for more of them, from `SIMULATOR_FIRST` on; `SIMULATOR_SEED=17` for one and its trace.
    /// A seed is the same run in another process only under `SWIFT_DETERMINISTIC_HASHING=1`.
    @Test func `no message is lost, duplicated or reordered`() async throws {
        let only = Self.number("SIMULATOR_SEED")
        let first = only ?? Self.number("SIMULATOR_FIRST") ?? 1
        let count = only == nil ? Self.number("SIMULATOR_SEEDS") ?? 300 : 1
        let start = ContinuousClock.now
        let workers = UInt64(min(16, max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))))
        let parts = try await withThrowingTaskGroup(of: Part.self) { group in
            for worker in 0..<workers {
                group.addTask {
                    try await Self.run(
                        stride(from: first + worker, to: first + count, by: Int(workers)), traces: only != nil)
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for failure in parts.flatMap(\.failures) { Issue.record("\(failure)") }
        let seconds = start.duration(to: .now) / .seconds(1)
        let (messages, deliveries) = parts.reduce((0, 0)) { ($0.0 + $1.messages, $0.1 + $1.deliveries) }
        print(
            "simulator: \(count) seeds, \(messages) messages, \(deliveries) deliveries,",
            "\(Int(Double(count) / seconds)) seeds/s")
        #expect(only != nil || deliveries > Int(count))
    }

    /// Where the trace is, for a look at what came long before.
    private static func save(_ trace: [String], of seed: UInt64) -> String {
        let path = "/tmp/martlet-simulator-\(seed).trace"
        guard let file = fopen(path, "w") else { return "could not be saved" }
        fputs(trace.joined(separator: "\n") + "\n", file)
        fclose(file)
        return path
    }

    private struct Part: Sendable {
        var messages = 0
        var deliveries = 0
        var failures: [String] = []
    }

    private static func run(_ seeds: StrideTo<UInt64>, traces: Bool) async throws -> Part {
        var part = Part()
        for seed in seeds {
            let result = try await Simulation.run(seed: seed, modules: modules(seed))
            part.messages += result.messages
            part.deliveries += result.deliveries
            guard !result.violations.isEmpty else { continue }
            let again = try await Simulation.run(seed: seed, modules: modules(seed), traced: true)
            part.failures.append(
                """
                seed \(seed): \(result.violations.joined(separator: "; "))
                repeat it with SWIFT_DETERMINISTIC_HASHING=1 SIMULATOR_SEED=\(seed), if that was set here as well
                the whole trace: \(save(again.trace, of: seed))
                \(again.trace.suffix(traces ? 100_000 : 100).joined(separator: "\n"))
                """)
            if part.failures.count == 3 { break }
        }
        return part
    }
}
