import CSQLiteVFS
import GRDB
import ModuleKit
import Synchronization
import Testing

@testable import StorageSQL

/// The writer: groups, failures, space, time.
@Suite struct CommitTests {
    private let directory = TemporaryDirectory()

    @Test func `what is queued during one commit is the next transaction`() async throws {
        let gate = Gate()
        var internals = SQLStorage.Internals()
        internals.beforeCommit = { () throws(StorageError) in gate.pass() }
        let storage = try SQLStorage.open(directory.options(), internals)
        gate.shut()
        let first = Task { try await storage.submit([spooled(1)]) }
        while storage.status.queuedRows == 0 { await Task.yield() }
        let rest = Task {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for id in 2...100 as ClosedRange<Int64> {
                    group.addTask { _ = try await storage.submit([spooled(id)]) }
                }
                try await group.waitForAll()
            }
        }
        while storage.status.queuedRows < 100 { await Task.yield() }
        gate.open()
        _ = try await first.value
        try await rest.value
        let status = storage.status
        #expect(status.transactions <= 2)
        #expect(status.committedBatches == 100)
        #expect(status.queuedRows == 0)
        #expect(status.queuedBytes == 0)
        await storage.close()
    }

    @Test func `a transaction has no more rows than allowed, but for a single batch`() async throws {
        let storage = try SQLStorage.open(directory.options { $0.groupRows = 10 })
        let batches: [[Mutation]] = (0..<10).map { batch in (1...6).map { spooled(batch * 6 + $0) } }
        await withTaskGroup(of: Void.self) { group in
            for batch in batches { group.addTask { _ = try? await storage.submit(batch) } }
            group.addTask { _ = try? await storage.submit((1_000...1_050).map { spooled($0) }) }
        }
        #expect(storage.status.transactions == 11)
        #expect(try await storage.spoolIDs().count == 111)
        await storage.close()
    }

    @Test func `a failing commit fails its batches, stores nothing, and the next one succeeds`() async throws {
        let (failures, reports) = (Failures(), Reports())
        var internals = SQLStorage.Internals()
        internals.beforeCommit = { () throws(StorageError) in try failures.check() }
        let storage = try SQLStorage.open(directory.options { $0.report = { reports.add($0) } }, internals)
        failures.add(.failed("no"))
        await #expect(throws: StorageError.failed("no")) {
            try await storage.submit([
                spooled(1), .put("m", OwnerID(1), key: "k", value: [1]),
                .createAccount(host: "h", local: "a", created: Timestamp(milliseconds: 0), credentials: []),
            ])
        }
        #expect(reports.all.last == .batchesFail(.failed("no")))
        #expect(try await storage.spoolIDs() == [])
        // Nothing remembered of it either: count, store, account.
        let again = try await storage.submit([
            spooled(2, limit: 1), .put("m", OwnerID(1), key: "k", value: [2]),
            .createAccount(host: "h", local: "a", created: Timestamp(milliseconds: 0), credentials: []),
        ])
        #expect(again == [.done, .done, .owner(OwnerID(1))])
        #expect(reports.all.last == .batchesSucceed(failed: 1))
        #expect(storage.status.failedBatches == 1)
        await storage.close()
    }

    @Test func `batches that fail in a group leave the others, in one transaction and in their order`() async throws {
        let gate = Gate()
        var internals = SQLStorage.Internals()
        internals.beforeCommit = { () throws(StorageError) in gate.pass() }
        let storage = try SQLStorage.open(directory.options(), internals)
        _ = try await storage.submit([
            spooled(1), .createAccount(host: "h", local: "a", created: Timestamp(milliseconds: 0), credentials: []),
        ])
        gate.shut()
        let results = Mutex<[Int: Bool]>([:])
        let batches: [[Mutation]] = [
            [spooled(0, 2)],
            // Each fails in its second half; the removals must come to nothing.
            [.removeAccount(OwnerID(1)), .put("new", OwnerID(3), key: "k", value: [1]), spooled(0, 2, stanza: [9])],
            [spooled(2)],
            [.unspoolAll("offline", OwnerID(1)), spooled(0, 2, stanza: [9])],
            [spooled(3), .put("new", OwnerID(3), key: "k", value: [2])],
        ]
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            storage.submit([]) { _ in }
            for (index, batch) in batches.enumerated() {
                storage.submit(batch) { result in
                    let count = results.withLock { results in
                        results[index] = if case .success = result { true } else { false }
                        return results.count
                    }
                    if count == batches.count { continuation.resume() }
                }
            }
            gate.open()
        }
        #expect(results.withLock { $0 } == [0: true, 1: false, 2: true, 3: false, 4: true])
        #expect(storage.status.transactions <= 3)
        #expect(try await storage.spoolIDs() == [1, 2, 3])
        let account = try await storage.read { snapshot throws(StorageError) in
            try snapshot.account(host: "h", local: "a")
        }
        #expect(account?.owner == OwnerID(1))
        #expect(storage.status.pendingRemovals == 0)
        await storage.close()
    }

    @Test func `a full disk fails what does not fit, and writing goes on when there is space`() async throws {
        let storage = try SQLStorage.open(directory.options { $0.vfs = "dropunsynced" })
        _ = try await storage.submit([spooled(1)])
        martlet_vfs_set_fault(directory.path, martlet_vfs_full)
        for id in 2...20 as ClosedRange<Int64> {
            await #expect(throws: StorageError.full) { try await storage.submit([spooled(id)]) }
        }
        // Reading goes on meanwhile.
        #expect(try await storage.spoolIDs() == [1])
        martlet_vfs_set_fault(directory.path, martlet_vfs_healthy)
        _ = try await storage.submit([spooled(21)])
        #expect(try await storage.spoolIDs() == [1, 21])
        await storage.close()
        let reopened = try SQLStorage.open(directory.options())
        #expect(try await reopened.spoolIDs() == [1, 21])
        await reopened.close()
    }

    @Test func `a disk that was really full is no different`() async throws {
        // A small file system of its own needs root; elsewhere the test before stands alone.
        guard let small = SmallFileSystem(at: directory.path + "/small", bytes: 1 << 20) else { return }
        defer { small.unmount() }
        let options = directory.options { $0.path = small.path + "/martlet.db" }
        var storage = try SQLStorage.open(options)
        var acknowledged: [Int64] = []
        var wasFull = 0
        for id in 1...400 as ClosedRange<Int64> {
            do throws(StorageError) {
                _ = try await storage.submit([spooled(id, stanza: [UInt8](repeating: 7, count: 4_000))])
                acknowledged.append(id)
            } catch {
                #expect(error == .full)
                wasFull += 1
            }
        }
        #expect(wasFull > 0)
        #expect(try await storage.spoolIDs() == acknowledged)
        small.grow(to: 16 << 20)
        _ = try await storage.submit([spooled(1_000)])
        #expect(try await storage.spoolIDs() == acknowledged + [1_000])
        await storage.close()
        storage = try SQLStorage.open(options)
        #expect(try await storage.spoolIDs() == acknowledged + [1_000])
        await storage.close()
    }

    @Test func `a sync that fails fails its commit, and nothing of it comes back`() async throws {
        let storage = try SQLStorage.open(directory.options { $0.vfs = "dropunsynced" })
        _ = try await storage.submit([spooled(1)])
        martlet_vfs_set_fault(directory.path, martlet_vfs_failing_sync)
        await #expect(throws: StorageError.self) { try await storage.submit([spooled(2)]) }
        #expect(try await storage.spoolIDs() == [1])
        martlet_vfs_set_fault(directory.path, martlet_vfs_healthy)
        _ = try await storage.submit([spooled(3)])
        await storage.close()
        let reopened = try SQLStorage.open(directory.options())
        #expect(try await reopened.spoolIDs() == [1, 3])
        await reopened.close()
    }

    @Test func `the log is written back when it is long, and does not grow for ever`() async throws {
        let storage = try SQLStorage.open(directory.options { $0.checkpointPages = 50 })
        for id in 1...300 as ClosedRange<Int64> {
            _ = try await storage.submit([spooled(id, stanza: [UInt8](repeating: 1, count: 3_000))])
        }
        let size = try directory.read("martlet.db-wal").count
        #expect(size < 400 * 4_120)
        await storage.close()
    }

    @Test func `a checkpoint that fails is reported and tried again`() async throws {
        let reports = Reports()
        let storage = try SQLStorage.open(
            directory.options {
                $0.checkpointPages = 20
                $0.vfs = "dropunsynced"
                $0.report = { reports.add($0) }
            })
        martlet_vfs_set_fault(directory.path, martlet_vfs_database_full)
        for id in 1...100 as ClosedRange<Int64> { _ = try await storage.submit([spooled(id)]) }
        // Tried now and then, not after each commit.
        let failures = reports.all.count { $0 == .checkpointFailed(.full) }
        #expect((2...20).contains(failures))
        martlet_vfs_set_fault(directory.path, martlet_vfs_healthy)
        for id in 101...200 as ClosedRange<Int64> { _ = try await storage.submit([spooled(id)]) }
        #expect(storage.status.logPages < 40)
        #expect(try await storage.spoolIDs().count == 200)
        await storage.close()
    }

    @Test func `a read that waits too long times out, and the others do not wait`() async throws {
        let gate = Gate()
        var internals = SQLStorage.Internals()
        internals.beforeCommit = { () throws(StorageError) in gate.pass() }
        let storage = try SQLStorage.open(directory.options { $0.readTimeout = .milliseconds(50) }, internals)
        gate.shut()
        let write = Task { try await storage.submit([spooled(1)]) }
        while storage.status.queuedRows == 0 { await Task.yield() }
        await #expect(throws: StorageError.timeout) { try await storage.spoolIDs() }
        #expect(try await storage.spoolIDs(2) == [])
        #expect(storage.status.parkedReads == 0)
        gate.open()
        #expect(try await write.value == [.done])
        #expect(try await storage.spoolIDs() == [1])
        await storage.close()
    }

    @Test func `reads time out when all threads that read are stuck`() async throws {
        let storage = try SQLStorage.open(
            directory.options {
                $0.readTimeout = .milliseconds(50)
                $0.readers = 1
            })
        let gate = Gate()
        gate.shut()
        let started = Atomic(false)
        let stuck = Task {
            try await storage.read { (_) throws(StorageError) in
                started.store(true, ordering: .relaxed)
                gate.pass()
            }
        }
        while !started.load(ordering: .relaxed) { await Task.yield() }
        await #expect(throws: StorageError.timeout) { try await storage.spoolIDs() }
        gate.open()
        try await stuck.value
        await storage.close()
    }

    @Test func `another program that holds the database delays a commit, and fails it after a while`() async throws {
        let storage = try SQLStorage.open(directory.options { $0.busyTimeout = .milliseconds(50) })
        _ = try await storage.submit([spooled(1)])
        let other = try directory.openDirectly()
        try other.inDatabase { try $0.execute(sql: "BEGIN IMMEDIATE") }
        await #expect(throws: StorageError.self) { try await storage.submit([spooled(2)]) }
        try other.inDatabase { try $0.execute(sql: "ROLLBACK") }
        _ = try await storage.submit([spooled(3)])
        #expect(try await storage.spoolIDs() == [1, 3])
        try other.close()
        await storage.close()
    }

    @Test func `a snapshot that outlives its read gives errors`() async throws {
        let storage = try SQLStorage.open(directory.options())
        let kept = Mutex<(any StorageSnapshot & Sendable)?>(nil)
        try await storage.read { snapshot throws(StorageError) in
            kept.withLock { $0 = snapshot as? SQLSnapshot }
        }
        let snapshot = kept.withLock { $0 }!
        #expect(throws: StorageError.self) { try snapshot.value("m", OwnerID(1), key: "k") }
        #expect(throws: StorageError.self) { try snapshot.account(host: "h", local: "a") }
        await storage.close()
    }

    @Test func `a queue that refuses is told of once until it is short again`() async throws {
        let (gate, reports) = (Gate(), Reports())
        var internals = SQLStorage.Internals()
        internals.beforeCommit = { () throws(StorageError) in gate.pass() }
        let storage = try SQLStorage.open(
            directory.options {
                $0.marks.mostBytes = 10_000
                $0.report = { reports.add($0) }
            }, internals)
        for round in 1...2 as ClosedRange<Int64> {
            gate.shut()
            let first = Task { try await storage.submit([spooled(round, stanza: [UInt8](repeating: 1, count: 9_000))]) }
            while storage.status.queuedRows == 0 { await Task.yield() }
            for id in 10...12 as ClosedRange<Int64> {
                await #expect(throws: StorageError.busy) {
                    try await storage.submit([spooled(id, stanza: [UInt8](repeating: 1, count: 2_000))])
                }
            }
            gate.open()
            _ = try await first.value
            #expect(reports.all.count { $0 == .overloaded } == Int(round))
        }
        #expect(storage.status.refused == 6)
        await storage.close()
    }
}
