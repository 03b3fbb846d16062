public import ModuleKit
internal import Synchronization

/// A storage whose disk can be made to fail, and to work again, while it is used.
///
/// Faults concern batches from the moment they are set; those submitted before go on. Completions keep their order, and
/// are called by the storage inside.
public final class FaultyStorage: StorageBackend {
    /// What happens to the batches.
    public enum Fault: Hashable, Sendable {
        case none
        /// Every batch fails with `.full`; nothing of it is stored.
        case full
        /// Every commit fails with `.failed`; nothing of it is stored.
        case failing
        /// Nothing happens: batches wait, and so do the reads of their owners.
        case stalled
    }

    fileprivate enum Held {
        case batch([Mutation], @Sendable (Result<[MutationOutcome], StorageError>) -> Void)
        case read([OwnerID], run: @Sendable () -> Void, fail: @Sendable () -> Void)
    }

    fileprivate struct State {
        var fault = Fault.none
        var failuresLeft = 0
        var readError: StorageError?
        var held: [Held] = []
        var heldRows = 0
        var heldReadCount = 0
        var isPressed = false
        var isClosed = false
    }

    private let storage: any StorageBackend
    private let marks: StorageMarks
    private let state = Mutex(State())

    /// - Parameter marks: What a stall may hold back, in mutations and reads.
    public init(_ storage: any StorageBackend, marks: StorageMarks = StorageMarks()) {
        self.storage = storage
        self.marks = marks
    }

    // MARK: Faults

    /// Sets what happens from now on. The end of a stall lets go what it held, in order, into the new fault.
    public func set(_ fault: Fault) {
        state.withLock { state in
            state.fault = fault
            guard fault != .stalled else { return }
            let held = state.held
            state.held.removeAll()
            state.heldRows = 0
            state.heldReadCount = 0
            state.isPressed = false
            for held in held {
                switch held {
                case .batch(let batch, let completion): pass(batch, completion, &state)
                case .read(_, let run, _): run()
                }
            }
        }
    }

    /// The next commits fail, as many as said; then it is as before.
    public func failCommits(_ count: Int) {
        state.withLock { $0.failuresLeft = count }
    }

    /// Every read fails with this; nil: reads work.
    public func failReads(_ error: StorageError?) {
        state.withLock { $0.readError = error }
    }

    /// The reads that a stall holds back have waited too long: they fail with `.timeout`.
    public func timeOutReads() {
        state.withLock { state in
            state.heldReadCount = 0
            state.held.removeAll { held in
                guard case .read(_, _, let fail) = held else { return false }
                fail()
                return true
            }
        }
    }

    /// Batches that a stall holds back.
    public var heldBatches: Int {
        state.withLock { state in
            state.held.count { if case .batch = $0 { true } else { false } }
        }
    }

    /// Reads that a stall holds back.
    public var heldReads: Int {
        state.withLock { state in
            state.held.count { if case .read = $0 { true } else { false } }
        }
    }

    // MARK: StorageBackend

    public func submit(
        _ batch: [Mutation], then completion: @escaping @Sendable (Result<[MutationOutcome], StorageError>) -> Void
    ) {
        state.withLock { state in
            guard state.fault == .stalled, !state.isClosed else { return pass(batch, completion, &state) }
            guard marks.takes(batch, rows: batch.count, behind: (rows: state.heldRows, bytes: 0)) else {
                return storage.submit([]) { _ in completion(.failure(.busy)) }
            }
            state.held.append(.batch(batch, completion))
            state.heldRows += batch.count
            if marks.isPressed(rows: state.heldRows) { state.isPressed = true }
        }
    }

    /// Hands a batch on, or an empty one in its place, so that a failure is told when its turn comes.
    private func pass(
        _ batch: [Mutation], _ completion: @escaping @Sendable (Result<[MutationOutcome], StorageError>) -> Void,
        _ state: inout sending State
    ) {
        let failure: StorageError
        if state.fault == .full {
            failure = .full
        } else if state.fault == .failing || state.failuresLeft > 0 {
            failure = .failed("the commit was made to fail")
            state.failuresLeft -= state.fault == .failing ? 0 : 1
        } else {
            return storage.submit(batch, then: completion)
        }
        storage.submit([]) { result in
            if case .failure(.closed) = result {
                completion(result)
            } else {
                completion(.failure(failure))
            }
        }
    }

    public func read<Value: Sendable>(
        _ owners: [OwnerID], _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value,
        then completion: @escaping @Sendable (Result<Value, StorageError>) -> Void
    ) {
        let storage = storage
        let fail: @Sendable (StorageError) -> Void = { error in
            let body: @Sendable (any StorageSnapshot) throws(StorageError) -> Value = {
                (_) throws(StorageError) in throw error
            }
            storage.read([], body, then: completion)
        }
        state.withLock { state in
            if let error = state.readError { return fail(error) }
            guard state.fault == .stalled, !state.isClosed, state.holds(owners) else {
                return storage.read(owners, body, then: completion)
            }
            guard state.heldReadCount < marks.mostReads else { return fail(.busy) }
            state.heldReadCount += 1
            state.held.append(
                .read(owners, run: { storage.read(owners, body, then: completion) }, fail: { fail(.timeout) }))
        }
    }

    public var isPressed: Bool { state.withLock { $0.isPressed } || storage.isPressed }

    public var epoch: StorageEpoch { storage.epoch }

    /// Ends a stall; then closes.
    public func close() async {
        if state.withLock({ $0.fault == .stalled }) { set(.none) }
        state.withLock { $0.isClosed = true }
        await storage.close()
    }
}

extension FaultyStorage.State {
    /// Whether a batch of one of these owners is held back.
    fileprivate func holds(_ owners: [OwnerID]) -> Bool {
        let owners = Set(owners)
        var isHeld = false
        for case .batch(let batch, _) in held where !isHeld {
            for mutation in batch { mutation.forEachOwner { isHeld = isHeld || owners.contains($0) } }
        }
        return isHeld
    }
}
