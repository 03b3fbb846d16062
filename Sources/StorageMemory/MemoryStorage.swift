public import ModuleKit
internal import Synchronization

/// The storage in memory, for tests: the same contract, at an executor's pace.
///
/// A batch takes two jobs of the executor: one commits it, one calls its completion. Between them it is durable and
/// nobody knows; before the first, a `crash()` loses it. Reads are one job each.
public final class MemoryStorage: StorageBackend {
    private struct Submission {
        let batch: [Mutation]
        let completion: @Sendable (Result<[MutationOutcome], StorageError>) -> Void
        let sequence: UInt64
    }

    private struct State {
        var data: MemoryData
        var queue: [Submission] = []
        var queued = 0
        var lastSequence: UInt64 = 0
        var doneSequence: UInt64 = 0
        var pending: [OwnerID: UInt64] = [:]
        var parked: [(sequence: UInt64, job: @Sendable () -> Void)] = []
        var untold: [@Sendable () -> Void] = []
        /// Reads that have not been answered.
        var reads = 0
        var isPressed = false
        var isClosing = false
        var isClosed = false
        /// After `crash()`: nothing happens any more.
        var isDead = false
        var whenClosed: [CheckedContinuation<Void, Never>] = []
    }

    private let state: Mutex<State>
    private let executor: any JobExecutor
    private let marks: StorageMarks
    public let epoch: StorageEpoch

    /// An empty storage.
    ///
    /// - Parameter marks: A mutation counts as a row; bytes do not count.
    public convenience init(executor: any JobExecutor = QueueExecutor(), marks: StorageMarks = StorageMarks()) {
        self.init(MemoryData(), executor, marks, StorageEpoch(1))
    }

    private init(_ data: MemoryData, _ executor: any JobExecutor, _ marks: StorageMarks, _ epoch: StorageEpoch) {
        state = Mutex(State(data: data))
        self.executor = executor
        self.marks = marks
        self.epoch = epoch
    }

    // MARK: StorageBackend

    public func submit(
        _ batch: [Mutation], then completion: @escaping @Sendable (Result<[MutationOutcome], StorageError>) -> Void
    ) {
        let sequence: Result<UInt64, StorageError> = state.withLock { state in
            guard !state.isClosing else { return .failure(.closed) }
            guard marks.takes(batch, rows: batch.count, behind: (rows: state.queued, bytes: 0)) else {
                return .failure(.busy)
            }
            state.lastSequence += 1
            let sequence = state.lastSequence
            state.queue.append(Submission(batch: batch, completion: completion, sequence: sequence))
            state.queued += batch.count
            for mutation in batch { mutation.forEachOwner { state.pending[$0] = sequence } }
            if marks.isPressed(rows: state.queued) { state.isPressed = true }
            return .success(sequence)
        }
        switch sequence {
        case .success(let sequence): executor.run { self.commit(through: sequence) }
        case .failure(let refusal): executor.run { completion(.failure(refusal)) }
        }
    }

    public func read<Value: Sendable>(
        _ owners: [OwnerID], _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value,
        then completion: @escaping @Sendable (Result<Value, StorageError>) -> Void
    ) {
        let job: @Sendable () -> Void = {
            guard let data = self.state.withLock({ $0.isDead ? nil : $0.data }) else { return }
            let snapshot = MemorySnapshot(data)
            let result: Result<Value, StorageError>
            do throws(StorageError) {
                result = .success(try body(snapshot))
            } catch {
                result = .failure(error)
            }
            snapshot.end()
            // Told by a job of its own: what was read may be out of date by then, as it may with threads.
            self.executor.run {
                if self.state.withLock({ $0.isDead }) { return }
                completion(result)
                self.finishRead()
            }
        }
        let refusal: StorageError? = state.withLock { state in
            guard !state.isClosing else { return .closed }
            guard state.reads < marks.mostReads else { return .busy }
            state.reads += 1
            let sequence = owners.reduce(0) { max($0, state.pending[$1] ?? 0) }
            if sequence > state.doneSequence {
                state.parked.append((sequence, job))
            } else {
                executor.run(job)
            }
            return nil
        }
        if let refusal { executor.run { completion(.failure(refusal)) } }
    }

    public var isPressed: Bool { state.withLock { $0.isPressed } }

    public func close() async {
        await withCheckedContinuation { continuation in
            let sequence: UInt64? = state.withLock { state in
                guard !state.isClosed, !state.isDead else { return nil }
                state.isClosing = true
                state.whenClosed.append(continuation)
                return state.lastSequence
            }
            if let sequence {
                executor.run { self.commit(through: sequence) }
            } else {
                continuation.resume()
            }
        }
    }

    // MARK: What tests do

    /// The process dies here: what is not committed is lost, and no completion of this storage is called any more.
    ///
    /// - Returns: What a new process finds: everything committed, told or not.
    public func crash(executor: (any JobExecutor)? = nil) -> MemoryStorage {
        let data = state.withLock { state in
            state.isDead = true
            state.isClosing = true
            state.queue.removeAll()
            state.parked.removeAll()
            state.untold.removeAll()
            return state.data
        }
        return MemoryStorage(data, executor ?? self.executor, marks, epoch)
    }

    /// What is found when the storage is opened again, to be called after `close()`.
    public func reopened(executor: (any JobExecutor)? = nil) -> MemoryStorage {
        MemoryStorage(state.withLock { $0.data }, executor ?? self.executor, marks, epoch)
    }

    /// The storage after a backup of this moment is put back: the same rows in another epoch.
    public func restored(executor: (any JobExecutor)? = nil) -> MemoryStorage {
        let next = StorageEpoch(epoch.rawValue + 1)
        return MemoryStorage(state.withLock { $0.data }, executor ?? self.executor, marks, next)
    }

    /// Batches that are submitted and not committed.
    public var queuedBatches: Int { state.withLock { $0.queue.count } }

    // MARK: Jobs

    /// Commits the batches up to this one, each for itself, and calls for a job that tells.
    private func commit(through sequence: UInt64) {
        let hasNews = state.withLock { state in
            guard !state.isDead else { return false }
            let group = state.queue.prefix { $0.sequence <= sequence }
            state.queue.removeFirst(group.count)
            for submission in group {
                let result: Result<[MutationOutcome], StorageError>
                do throws(StorageError) {
                    result = .success(try state.data.apply(submission.batch))
                } catch {
                    result = .failure(error)
                }
                state.untold.append { submission.completion(result) }
                state.doneSequence = submission.sequence
                state.queued -= submission.batch.count
                for mutation in submission.batch {
                    mutation.forEachOwner { if state.pending[$0] == submission.sequence { state.pending[$0] = nil } }
                }
            }
            if marks.isRelieved(rows: state.queued) { state.isPressed = false }
            state.parked.removeAll { sequence, job in
                guard sequence <= state.doneSequence else { return false }
                executor.run(job)
                return true
            }
            return true
        }
        if hasNews { executor.run { self.tell() } }
    }

    private func tell() {
        let completions = state.withLock { state in
            defer { state.untold.removeAll() }
            return state.untold
        }
        for completion in completions { completion() }
        finishClosing()
    }

    private func finishRead() {
        let isClosing = state.withLock { state in
            state.reads -= 1
            return state.isClosing
        }
        if isClosing { finishClosing() }
    }

    private func finishClosing() {
        let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            guard state.isClosing, !state.isDead, state.queue.isEmpty, state.untold.isEmpty, state.reads == 0 else {
                return []
            }
            state.isClosed = true
            defer { state.whenClosed.removeAll() }
            return state.whenClosed
        }
        for continuation in waiting { continuation.resume() }
    }
}
