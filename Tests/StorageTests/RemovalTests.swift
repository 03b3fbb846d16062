import ModuleKit
import Testing

@testable import StorageSQL

/// Removing accounts: at once for everybody, in small steps on disk, also over several runs.
@Suite struct RemovalTests {
    private let directory = TemporaryDirectory()

    private func fill(_ storage: SQLStorage, _ owner: Int64, rows: ClosedRange<Int64> = 1...100) async throws {
        var batch: [Mutation] = []
        for id in rows {
            let references = [
                (owner: OwnerID(owner), id: id, with: "w"), (owner: OwnerID(99), id: owner * 1_000 + id, with: "v"),
            ]
            batch += [
                spooled(id, owner), .put("m", OwnerID(owner), key: "\(id)", value: [1]),
                .archive("x", references, stamp: Timestamp(milliseconds: id), stanza: [1]),
            ]
        }
        _ = try await storage.submit(batch)
    }

    private func create(_ local: String) -> Mutation {
        .createAccount(host: "h", local: local, created: Timestamp(milliseconds: 1), credentials: [])
    }

    /// Rows of an owner that are really there.
    private func rowsOnDisk(_ owner: Int64) throws -> Int {
        try ["map", "spool", "archive_reference", "tombstone"].reduce(0) { count, table in
            try count + (directory.value("SELECT count(*) FROM \(table) WHERE owner = \(owner)") ?? 0)
        }
    }

    private func waitForRemovals(_ storage: SQLStorage) async {
        while storage.status.pendingRemovals > 0 { await Task.yield() }
    }

    @Test func `every row of a removed account is deleted, and bodies that nobody else has`() async throws {
        let reports = Reports()
        let storage = try SQLStorage.open(directory.options { $0.report = { reports.add($0) } })
        _ = try await storage.submit([create("a"), create("b")])
        try await fill(storage, 1)
        _ = try await storage.submit([
            .archive("x", [(owner: OwnerID(1), id: 5_000, with: "w")], stamp: Timestamp(milliseconds: 1), stanza: [1])
        ])
        _ = try await storage.submit([.removeAccount(OwnerID(1))])
        await waitForRemovals(storage)
        await storage.close()
        #expect(reports.all.contains(.removed(OwnerID(1), rows: 301)))
        #expect(try rowsOnDisk(1) == 0)
        #expect(try directory.value("SELECT count(*) FROM archive_body") == 100)
        #expect(try directory.value("SELECT count(*) FROM archive_body WHERE remaining <> 1") == 0)
    }

    @Test func `a removal that a stop interrupts is hidden, and finished by the next run`() async throws {
        let failures = Failures()
        var internals = SQLStorage.Internals()
        internals.sweepRows = 10
        internals.beforeSweep = { () throws(StorageError) in try failures.check() }
        let first = try SQLStorage.open(directory.options(), internals)
        _ = try await first.submit([create("a"), create("b")])
        try await fill(first, 1)
        // The disk fails for the deletions: they stop after the first failure for a second.
        for _ in 0..<100 { failures.add(.failed("no")) }
        _ = try await first.submit([.removeAccount(OwnerID(1))])
        #expect(try await first.spoolIDs() == [])
        await first.close()
        #expect(try rowsOnDisk(1) == 301)

        internals.beforeSweep = nil
        let reports = Reports()
        let second = try SQLStorage.open(directory.options { $0.report = { reports.add($0) } }, internals)
        #expect(try await second.spoolIDs() == [])
        await #expect(throws: StorageError.noSuchOwner) { try await second.submit([spooled(7_000)]) }
        // Nobody is told to look at the disk.
        #expect(!reports.all.contains(.batchesFail(.noSuchOwner)))
        _ = try await second.submit([create("a")])
        #expect(try await second.spoolIDs() == [])
        await waitForRemovals(second)
        #expect(try await second.spoolIDs() == [])
        await second.close()
        #expect(reports.all.contains(.removed(OwnerID(1), rows: 300)))
        #expect(try rowsOnDisk(1) == 0)
    }

    @Test func `a removal goes on when it has failed, and says so`() async throws {
        let (failures, reports) = (Failures(), Reports())
        var internals = SQLStorage.Internals()
        internals.sweepPause = .milliseconds(5)
        internals.beforeSweep = { () throws(StorageError) in try failures.check() }
        let storage = try SQLStorage.open(directory.options { $0.report = { reports.add($0) } }, internals)
        _ = try await storage.submit([create("a")])
        try await fill(storage, 1, rows: 1...5)
        for _ in 0..<3 { failures.add(.full) }
        _ = try await storage.submit([.removeAccount(OwnerID(1))])
        await waitForRemovals(storage)
        #expect(reports.all.count { $0 == .removalFailed(.full) } == 3)
        #expect(reports.all.last == .removed(OwnerID(1), rows: 15))
        await storage.close()
    }

    @Test func `writing goes on between the steps of a removal`() async throws {
        let gate = Gate()
        var internals = SQLStorage.Internals()
        internals.sweepRows = 1
        internals.beforeCommit = { () throws(StorageError) in gate.pass() }
        let storage = try SQLStorage.open(directory.options { $0.groupRows = 1 }, internals)
        _ = try await storage.submit([create("a")])
        try await fill(storage, 1)
        gate.shut()
        async let removal = storage.submit([.removeAccount(OwnerID(1))])
        while storage.status.queuedRows < 1 { await Task.yield() }
        // Told on the writer's thread, after one step of 301.
        async let left = withCheckedContinuation { (continuation: CheckedContinuation<Int, Never>) in
            storage.submit([spooled(1, 2)]) { _ in continuation.resume(returning: storage.status.pendingRemovals) }
        }
        while storage.status.queuedRows < 2 { await Task.yield() }
        gate.open()
        #expect(try await removal == [.done])
        #expect(await left == 1)
        #expect(try await storage.spoolIDs(2) == [1])
        await storage.close()
    }

    @Test func `bodies leave with their last reference, however they lose it`() async throws {
        let storage = try SQLStorage.open(directory.options())
        _ = try await storage.submit([create("a"), create("b"), create("c")])
        for owner in 1...3 as ClosedRange<Int64> { try await fill(storage, owner, rows: 1...40) }
        _ = try await storage.submit([
            .trimArchive(
                "x", OwnerID(1), from: Timestamp(milliseconds: .min), before: Timestamp(milliseconds: 20), keep: .max,
                limit: 31)
        ])
        _ = try await storage.submit([.removeAccount(OwnerID(2))])
        _ = try await storage.submit([
            .trimArchive(
                "x", OwnerID(3), from: Timestamp(milliseconds: .min), before: Timestamp(milliseconds: 30), keep: 20,
                limit: 57)
        ])
        await waitForRemovals(storage)
        await storage.close()
        // The count of each body is that of its references, and there is no reference without a body.
        let wrong: Int? = try directory.value(
            """
            SELECT count(*) FROM archive_body b
            WHERE remaining <> (SELECT count(*) FROM archive_reference r WHERE r.body = b.id)
            """)
        #expect(wrong == 0)
        let lost: Int? = try directory.value(
            "SELECT count(*) FROM archive_reference WHERE body NOT IN (SELECT id FROM archive_body)")
        #expect(lost == 0)
    }
}
