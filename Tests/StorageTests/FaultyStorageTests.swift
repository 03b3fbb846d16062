import ModuleKit
import ModuleTesting
import StorageMemory
import Synchronization
import Testing

@testable import StorageSQL

/// The wrapper that makes storages fail, around both of them.
@Suite struct FaultyStorageTests {
    enum Inner: CaseIterable {
        case memory
        case sql
    }

    private let directory = TemporaryDirectory()

    private func make(_ inner: Inner) throws -> FaultyStorage {
        var marks = StorageMarks()
        marks.pressedRows = 10
        return switch inner {
        case .memory: FaultyStorage(MemoryStorage(), marks: marks)
        case .sql: FaultyStorage(try SQLStorage.open(directory.options()), marks: marks)
        }
    }

    @Test(arguments: Inner.allCases)
    func `a full disk takes nothing, keeps what was there, and takes again later`(_ inner: Inner) async throws {
        let storage = try make(inner)
        _ = try await storage.submit([spooled(1)])
        storage.set(.full)
        await #expect(throws: StorageError.full) { try await storage.submit([spooled(2)]) }
        #expect(try await storage.spoolIDs() == [1])
        storage.set(.none)
        _ = try await storage.submit([spooled(3)])
        #expect(try await storage.spoolIDs() == [1, 3])
        await storage.close()
    }

    @Test(arguments: Inner.allCases)
    func `failing commits fail as many as said, told in order with the others`(_ inner: Inner) async throws {
        let storage = try make(inner)
        let told = Mutex<[String]>([])
        storage.failCommits(2)
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            for id in 1...5 as ClosedRange<Int64> {
                storage.submit([spooled(id)]) { result in
                    let text = if case .success = result { "done" } else { "failed" }
                    let count = told.withLock { told in
                        told.append("\(id) \(text)")
                        return told.count
                    }
                    if count == 5 { continuation.resume() }
                }
            }
        }
        #expect(told.withLock { $0 } == ["1 failed", "2 failed", "3 done", "4 done", "5 done"])
        #expect(try await storage.spoolIDs() == [3, 4, 5])
        storage.set(.failing)
        await #expect(throws: StorageError.self) { try await storage.submit([spooled(6)]) }
        await storage.close()
    }

    @Test(arguments: Inner.allCases)
    func `a stalled disk holds writes and the reads behind them, presses, and lets go in order`(
        _ inner: Inner
    ) async throws {
        let storage = try make(inner)
        storage.set(.stalled)
        let writes = (1...11 as ClosedRange<Int64>).map { id in Task { try await storage.submit([spooled(id)]) } }
        while storage.heldBatches < 11 { await Task.yield() }
        #expect(storage.isPressed)
        // Others read as ever.
        #expect(try await storage.spoolIDs(2) == [])
        let late = Task { try await storage.spoolIDs() }
        while storage.heldReads < 1 { await Task.yield() }
        storage.timeOutReads()
        await #expect(throws: StorageError.timeout) { try await late.value }
        storage.set(.none)
        for write in writes { #expect(try await write.value == [.done]) }
        #expect(!storage.isPressed)
        #expect(try await storage.spoolIDs() == Array(1...11))
        await storage.close()
    }

    @Test(arguments: Inner.allCases)
    func `the end of a stall may be another fault, and closing ends it too`(_ inner: Inner) async throws {
        let storage = try make(inner)
        storage.set(.stalled)
        let write = Task { try await storage.submit([spooled(1)]) }
        while storage.heldBatches < 1 { await Task.yield() }
        storage.set(.full)
        await #expect(throws: StorageError.full) { try await write.value }
        storage.set(.stalled)
        let last = Task { try await storage.submit([spooled(2)]) }
        while storage.heldBatches < 1 { await Task.yield() }
        await storage.close()
        #expect(try await last.value == [.done])
        await #expect(throws: StorageError.closed) { try await storage.submit([spooled(3)]) }
    }

    @Test(arguments: Inner.allCases)
    func `reads can be made to fail`(_ inner: Inner) async throws {
        let storage = try make(inner)
        storage.failReads(.failed("dying"))
        await #expect(throws: StorageError.failed("dying")) { try await storage.spoolIDs() }
        storage.failReads(nil)
        #expect(try await storage.spoolIDs() == [])
        await storage.close()
    }
}
