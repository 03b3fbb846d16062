internal import ModuleKit
internal import Synchronization

/// A batch on its way to the disk.
struct Submission {
    let batch: [Mutation]
    let completion: @Sendable (Result<[MutationOutcome], StorageError>) -> Void
    let sequence: UInt64
    let rows: Int
    let bytes: Int
}

/// A read, ready to be run with a snapshot or to be told that it will not be. The closure it gives back is called when
/// the snapshot is over.
struct ReadJob: Sendable {
    let run: @Sendable (Result<SQLSnapshot, StorageError>) -> @Sendable () -> Void
    /// Monotonic nanoseconds.
    let deadline: UInt64
}

/// What was submitted and is not yet on disk, in order; and the reads that wait for it.
///
/// Read-your-writes: for each owner with something queued stands the sequence of its last batch. A read of that owner
/// is parked until the journal is past it; it occupies no thread meanwhile.
final class Journal: @unchecked Sendable {
    // Confined: all that varies is guarded by `monitor`.
    private let monitor = Monitor()
    private let options: SQLOptions
    private let readers: ReadPool
    private let timekeeper: Timekeeper
    private let pressed = Atomic(false)

    private var queue = FIFO<Submission>()
    private var lastSequence: UInt64 = 0
    private var doneSequence: UInt64 = 0
    private var pending: [OwnerID: UInt64] = [:]
    private var parked: [(sequence: UInt64, job: ReadJob)] = []
    private var isClosing = false
    /// Said that it refuses, and the queue was not short since.
    private var hasRefused = false
    private var status = SQLStatus()
    private var whenClosed: [@Sendable () -> Void] = []
    private var isClosed = false

    init(_ options: SQLOptions, _ readers: ReadPool, _ timekeeper: Timekeeper) {
        self.options = options
        self.readers = readers
        self.timekeeper = timekeeper
    }

    var isPressed: Bool { pressed.load(ordering: .relaxed) }

    var currentStatus: SQLStatus {
        monitor.locked {
            var status = status
            status.parkedReads = parked.count
            return status
        }
    }

    // MARK: From any thread

    /// Nil: queued. Else why it was not; the completion is still the caller's to call.
    func submit(
        _ batch: [Mutation], _ completion: @escaping @Sendable (Result<[MutationOutcome], StorageError>) -> Void
    ) -> StorageError? {
        var rows = 0
        var bytes = 0
        for mutation in batch {
            rows += mutation.rowCount
            bytes += mutation.byteCount
        }
        monitor.lock()
        guard !isClosing else {
            monitor.unlock()
            return .closed
        }
        let queued = (rows: status.queuedRows, bytes: status.queuedBytes)
        guard options.marks.takes(batch, rows: rows, bytes: bytes, behind: queued) else { return refuse() }
        defer { monitor.unlock() }
        lastSequence += 1
        queue.append(
            Submission(batch: batch, completion: completion, sequence: lastSequence, rows: rows, bytes: bytes))
        for mutation in batch { mutation.forEachOwner { pending[$0] = lastSequence } }
        status.queuedRows += rows
        status.queuedBytes += bytes
        if options.marks.isPressed(rows: status.queuedRows, bytes: status.queuedBytes) {
            pressed.store(true, ordering: .relaxed)
        }
        monitor.signal()
        return nil
    }

    /// Counts what is not taken, says so once, and gives the lock back.
    private func refuse() -> StorageError {
        status.refused += 1
        let isNews = !hasRefused
        hasRefused = true
        monitor.unlock()
        if isNews { options.report(.overloaded) }
        return .busy
    }

    /// Nil: it will be run. Else why not; the job is still the caller's to fail.
    func read(_ owners: [OwnerID], _ job: ReadJob) -> StorageError? {
        monitor.lock()
        guard !isClosing else {
            monitor.unlock()
            return .closed
        }
        var sequence: UInt64 = 0
        if !pending.isEmpty {
            for owner in owners { sequence = max(sequence, pending[owner] ?? 0) }
        }
        guard sequence > doneSequence else {
            monitor.unlock()
            guard !readers.add(job, most: options.marks.mostReads) else { return nil }
            monitor.lock()
            return refuse()
        }
        guard parked.count < options.marks.mostReads else { return refuse() }
        parked.append((sequence, job))
        monitor.unlock()
        timekeeper.wake()
        return nil
    }

    /// Asks the writer to commit what is queued and to end; `then` is called when it has, at once if it had before.
    func close(then: @escaping @Sendable () -> Void) {
        monitor.lock()
        isClosing = true
        let isClosed = isClosed
        if !isClosed { whenClosed.append(then) }
        monitor.signal()
        monitor.unlock()
        if isClosed { then() }
    }

    // MARK: From the writer's thread

    enum Work {
        case group
        /// Nothing is queued, and the time given has passed.
        case idle
        case finished
    }

    /// Waits for batches and takes as many as make one transaction.
    func next(into group: inout [Submission], idleAfter delay: Duration?) -> Work {
        group.removeAll(keepingCapacity: true)
        monitor.lock()
        defer { monitor.unlock() }
        while queue.isEmpty {
            if isClosing { return .finished }
            if let delay {
                if delay > .zero { monitor.wait(atMost: delay) }
                if queue.isEmpty, !isClosing { return .idle }
            } else {
                monitor.wait()
            }
        }
        var rows = 0
        while let first = queue.first, group.isEmpty || rows + first.rows <= options.groupRows {
            rows += first.rows
            group.append(first)
            _ = queue.popFirst()
        }
        return .group
    }

    /// The group is on disk or has failed: lets the reads go that waited for it.
    func finish(_ group: [Submission], rows: Int, failed: Int, logPages: Int, pendingRemovals: Int) {
        guard let last = group.last else { return }
        var free: [ReadJob] = []
        monitor.lock()
        doneSequence = last.sequence
        for submission in group {
            status.queuedRows -= submission.rows
            status.queuedBytes -= submission.bytes
            for mutation in submission.batch {
                mutation.forEachOwner { if let last = pending[$0], last <= doneSequence { pending[$0] = nil } }
            }
        }
        status.committedRows += rows
        status.committedBatches += group.count - failed
        status.failedBatches += failed
        status.transactions += 1
        status.logPages = logPages
        status.pendingRemovals = pendingRemovals
        if options.marks.isRelieved(rows: status.queuedRows, bytes: status.queuedBytes) {
            pressed.store(false, ordering: .relaxed)
            hasRefused = false
        }
        if !parked.isEmpty {
            parked.removeAll {
                guard $0.sequence <= doneSequence else { return false }
                free.append($0.job)
                return true
            }
        }
        monitor.unlock()
        for job in free { readers.add(job) }
    }

    func noteRemovals(_ pending: Int) {
        monitor.locked { status.pendingRemovals = pending }
    }

    /// The last words of the writer.
    func finished() {
        monitor.lock()
        isClosed = true
        let waiting = whenClosed
        whenClosed.removeAll()
        monitor.unlock()
        for then in waiting { then() }
    }

    // MARK: From the timekeeper

    var hasParked: Bool { monitor.locked { !parked.isEmpty } }

    /// Takes out the reads that are past their deadline.
    func takeLate(_ now: UInt64) -> [ReadJob] {
        monitor.locked {
            var late: [ReadJob] = []
            parked.removeAll {
                guard $0.job.deadline <= now else { return false }
                late.append($0.job)
                return true
            }
            return late
        }
    }
}

extension Mutation {
    /// What it weighs in a transaction.
    var rowCount: Int {
        switch self {
        case .archive(_, let references, _, _): 1 + references.count
        case .unspool(_, _, let ids): ids.count
        case .trimArchive(_, _, _, _, _, let limit): min(max(limit, 1), 10_000)
        default: 1
        }
    }

    /// About what it occupies while it is queued.
    var byteCount: Int {
        switch self {
        case .put(_, _, let key, let value): 96 + key.utf8.count + value.count
        case .spool(_, _, let row, _): 96 + row.stanza.count
        case .archive(_, let references, _, let stanza): 96 + references.count * 48 + stanza.count
        case .unspool(_, _, let ids): 96 + ids.count * 8
        case .createAccount(_, _, _, let credentials), .setCredentials(_, let credentials):
            96 + credentials.reduce(0) { $0 + $1.count }
        case .replaceCredentials(_, let old, let new): 96 + (old + new).reduce(0) { $0 + $1.count }
        default: 96
        }
    }
}
