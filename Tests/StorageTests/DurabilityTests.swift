import CSQLiteVFS
import Foundation
import ModuleKit
import Synchronization
import Testing

@testable import StorageSQL

/// What is left when the power fails. The file system of the crash trials keeps what was not synced from the disk.
@Suite struct DurabilityTests {
    private let directory = TemporaryDirectory()

    /// Writes rows from many sides, cuts the power in the middle, and gives the ids acknowledged until then.
    private func writeAndCut(
        _ durability: SQLOptions.Durability, rows: Int64, seed: UInt32 = 0, checkpointPages: Int = 40
    ) async throws -> Set<Int64> {
        let storage = try SQLStorage.open(
            directory.options {
                $0.vfs = "dropunsynced"
                $0.durability = durability
                $0.checkpointPages = checkpointPages
            })
        let trial = Trial()
        await withTaskGroup(of: Void.self) { group in
            for writer in 0..<4 as Range<Int64> {
                group.addTask {
                    for number in 0..<rows {
                        let id = number * 4 + writer + 1
                        let stanza = [UInt8](repeating: UInt8(id % 251), count: 500)
                        guard (try? await storage.submit([spooled(id, stanza: stanza)])) != nil else { return }
                        trial.acknowledge(id)
                    }
                }
            }
            group.addTask { [path = directory.path] in
                while trial.acknowledged.count < rows * 2 { await Task.yield() }
                trial.end { martlet_vfs_power_cut(path, seed) }
            }
        }
        await storage.close()
        return trial.acknowledged
    }

    /// What was acknowledged until the power failed.
    private final class Trial: Sendable {
        private struct State {
            var ids: Set<Int64> = []
            var isOver = false
        }

        private let state = Mutex(State())

        var acknowledged: Set<Int64> { state.withLock { $0.ids } }

        /// A cut between commit and telling is one before telling: nobody was promised anything.
        func acknowledge(_ id: Int64) {
            state.withLock { state in
                if !state.isOver { state.ids.insert(id) }
            }
        }

        func end(_ cut: () -> Void) {
            state.withLock { state in
                cut()
                state.isOver = true
            }
        }
    }

    @Test func `with full syncs nothing acknowledged is lost when the power fails`() async throws {
        let acknowledged = try await writeAndCut(.full, rows: 100)
        let reports = Reports()
        let storage = try SQLStorage.open(
            directory.options {
                $0.verification = .full
                $0.report = { reports.add($0) }
            })
        let found = Set(try await storage.spoolIDs())
        #expect(acknowledged.count >= 200)
        #expect(acknowledged.subtracting(found).isEmpty)
        await storage.close()
    }

    @Test func `without syncs acknowledged rows are lost: the test can tell`() async throws {
        let acknowledged = try await writeAndCut(.none, rows: 100)
        let storage = try? SQLStorage.open(directory.options())
        let found = Set((try? await storage?.spoolIDs()) ?? [])
        #expect(acknowledged.count >= 200)
        #expect(!acknowledged.subtracting(found).isEmpty)
        await storage?.close()
    }

    @Test(arguments: 1...12 as ClosedRange<UInt32>)
    func `nothing is lost either when a part of what was not synced did reach the disk`(_ seed: UInt32) async throws {
        let acknowledged = try await writeAndCut(.full, rows: 60, seed: seed, checkpointPages: 20 + Int(seed))
        let storage = try SQLStorage.open(directory.options { $0.verification = .full })
        let rows = try await storage.read([OwnerID(1)]) { snapshot throws(StorageError) in
            try snapshot.spool("offline", OwnerID(1), after: 0, limit: .max)
        }
        #expect(acknowledged.subtracting(rows.map(\.id)).isEmpty)
        #expect(rows.allSatisfy { $0.stanza == [UInt8](repeating: UInt8($0.id % 251), count: 500) })
        await storage.close()
    }

    @Test func `an unclean stop is reported, a clean one is not`() async throws {
        _ = try await writeAndCut(.full, rows: 10, checkpointPages: 1_000_000)
        for isRecovered in [true, false] {
            let reports = Reports()
            let storage = try SQLStorage.open(directory.options { $0.report = { reports.add($0) } })
            await storage.close()
            let recoveries = reports.all.filter { if case .recovered(let pages) = $0 { pages > 0 } else { false } }
            #expect(recoveries.count == (isRecovered ? 1 : 0))
        }
    }

    @Test func `a log whose end was torn off loses only what was never acknowledged`() async throws {
        // As a copy of the files taken while the storage runs, cut in the middle of its last commit.
        let storage = try SQLStorage.open(directory.options { $0.checkpointPages = 1_000_000 })
        for id in 1...50 as ClosedRange<Int64> { _ = try await storage.submit([spooled(id)]) }
        let (database, log) = (try directory.read(), try directory.read("martlet.db-wal"))
        await storage.close()
        for cut in [log.count - 1, log.count - 4_120, log.count - 9_000, log.count / 2, 33, 31, 1] {
            let copy = TemporaryDirectory()
            try copy.write(database)
            try copy.write(log.prefix(cut), to: "martlet.db-wal")
            let storage = try SQLStorage.open(copy.options { $0.verification = .full })
            let found = try await storage.spoolIDs()
            #expect(found == Array(1...50).prefix(found.count).map { Int64($0) })
            _ = try await storage.submit([spooled(1_000)])
            await storage.close()
        }
    }
}
