import ModuleKit
import StorageMemory
import Synchronization
import Testing

/// What only the storage in memory does: an executor's pace, and crashes.
@Suite struct MemoryStorageTests {
    /// Runs jobs when told to, in the order asked for.
    private final class ManualExecutor: JobExecutor {
        private let jobs = Mutex<[@Sendable () -> Void]>([])

        var count: Int { jobs.withLock { $0.count } }

        func run(_ job: @escaping @Sendable () -> Void) {
            jobs.withLock { $0.append(job) }
        }

        /// Runs the job at this place; the first one if nothing is said.
        func step(_ place: Int = 0) {
            jobs.withLock { $0.remove(at: place) }()
        }

        func runAll() {
            while count > 0 { step() }
        }
    }

    /// Results as they come.
    private final class Results: Sendable {
        private let list = Mutex<[String]>([])
        var all: [String] { list.withLock { $0 } }

        func add(_ text: String) {
            list.withLock { $0.append(text) }
        }
    }

    private let executor = ManualExecutor()
    private let results = Results()
    private let storage: MemoryStorage

    init() {
        var marks = StorageMarks()
        marks.pressedRows = 3
        storage = MemoryStorage(executor: executor, marks: marks)
    }

    private func put(_ value: UInt8, in storage: MemoryStorage) {
        storage.submit([.put("m", OwnerID(1), key: "k", value: [value])]) { [results] result in
            results.add("put \(value) \((try? result.get()) == [.done])")
        }
    }

    private func read(from storage: MemoryStorage, _ owner: Int64 = 1) {
        storage.read(
            [OwnerID(owner)], { snapshot throws(StorageError) in try snapshot.value("m", OwnerID(1), key: "k") }
        ) { [results] result in
            results.add("read \((try? result.get())?.map(Int.init) ?? [])")
        }
    }

    @Test func `committing and telling are two jobs`() {
        put(1, in: storage)
        #expect(storage.queuedBatches == 1)
        executor.step()
        #expect(storage.queuedBatches == 0)
        #expect(results.all == [])
        executor.step()
        #expect(results.all == ["put 1 true"])
        #expect(executor.count == 0)
    }

    @Test func `a read waits for the batches of its owner, whichever job comes first`() {
        put(1, in: storage)
        read(from: storage)
        read(from: storage, 2)
        // The commit, and the read of the other owner, which has nothing to wait for.
        #expect(executor.count == 2)
        executor.step(1)
        // Reading and telling are two jobs as well.
        #expect(results.all == [])
        executor.step(1)
        #expect(results.all == ["read []"])
        executor.runAll()
        #expect(results.all == ["read []", "put 1 true", "read [1]"])
    }

    @Test func `what was read may be out of date when it is told`() {
        read(from: storage)
        executor.step()
        put(1, in: storage)
        // The commit and its telling, before the telling of what was read.
        executor.step(1)
        executor.step(1)
        #expect(results.all == ["put 1 true"])
        executor.runAll()
        #expect(results.all == ["put 1 true", "read []"])
    }

    @Test func `jobs in any order leave the batches in theirs`() {
        for seed in 1...50 as ClosedRange<Int> {
            let (executor, results) = (ManualExecutor(), Results())
            let storage = MemoryStorage(executor: executor)
            for value in 1...5 as ClosedRange<UInt8> {
                storage.submit([.put("m", OwnerID(1), key: "k", value: [value])]) { _ in results.add("\(value)") }
            }
            var state = seed
            while executor.count > 0 {
                state = (state &* 1_103_515_245 &+ 12_345) & 0x7fff_ffff
                executor.step(state % executor.count)
            }
            #expect(results.all == ["1", "2", "3", "4", "5"])
            storage.read(
                [OwnerID(1)],
                { snapshot throws(StorageError) in
                    try snapshot.value("m", OwnerID(1), key: "k")
                }
            ) { result in
                results.add("\((try? result.get()) == [5])")
            }
            executor.runAll()
            #expect(results.all.last == "true")
        }
    }

    @Test func `a crash loses what is not committed, and tells nobody anything`() {
        put(1, in: storage)
        executor.runAll()
        put(2, in: storage)
        executor.step()
        put(3, in: storage)
        read(from: storage)
        // 1 is told, 2 committed, 3 queued.
        let next = storage.crash()
        executor.runAll()
        #expect(results.all == ["put 1 true"])
        read(from: next)
        executor.runAll()
        #expect(results.all == ["put 1 true", "read [2]"])
        put(4, in: next)
        executor.runAll()
        #expect(results.all.last == "put 4 true")
    }

    @Test func `more than the mark presses until half is done`() {
        for value in 1...3 as ClosedRange<UInt8> { put(value, in: storage) }
        #expect(!storage.isPressed)
        put(4, in: storage)
        #expect(storage.isPressed)
        executor.step()
        executor.step()
        #expect(storage.isPressed)
        executor.step()
        #expect(!storage.isPressed)
        executor.runAll()
    }

    @Test func `accounts are quick to make`() async throws {
        let storage = MemoryStorage()
        for batch in 0..<20 {
            _ = try await storage.submit(
                (0..<1_000).map {
                    .createAccount(
                        host: "h", local: "\(batch * 1_000 + $0)", created: Timestamp(milliseconds: 0), credentials: [])
                })
        }
        let count = try await storage.read { snapshot throws(StorageError) in try snapshot.accountCount(host: "h") }
        #expect(count == 20_000)
        await storage.close()
    }
}
