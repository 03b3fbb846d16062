internal import GRDB
internal import GRDBSQLite
internal import ModuleKit

/// What the writer's thread does: takes what is queued, commits it, tells, writes the log back, and deletes the rows of
/// removed accounts in between.
final class WriterThread: @unchecked Sendable {
    // Confined: everything that varies is touched by the writer's thread only.
    private let journal: Journal
    private let readers: ReadPool
    private let options: SQLOptions
    private let internals: SQLStorage.Internals

    /// Since the last group without a failure.
    private var failedBatches = 0
    private var removals = FIFO<OwnerID>()
    private var removedRows = 0
    /// When to try again to delete rows of removed accounts, after it failed.
    private var sweepAfter: UInt64 = 0
    private var sweepPause: Duration
    /// When the last group was committed, or the last step of the index failed.
    private var lastGroup: UInt64 = 0
    private var lastIndexSucceeded = true
    /// Pages in the log, as SQLite tells after each commit.
    private let logPages = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
    private var checkpointAt: Int32

    init(_ journal: Journal, _ readers: ReadPool, _ options: SQLOptions, _ internals: SQLStorage.Internals) {
        self.journal = journal
        self.readers = readers
        self.options = options
        self.internals = internals
        sweepPause = internals.sweepPause
        logPages.initialize(to: 0)
        checkpointAt = Int32(clamping: max(1, options.checkpointPages))
    }

    deinit {
        logPages.deallocate()
    }

    /// Works until the journal is closed and empty; then closes the database.
    func run(_ database: DatabaseQueue) {
        do {
            try database.inDatabase { try work(Connection($0)) }
        } catch {
            failAll(StorageError(error))
        }
        readers.close()
        do {
            // The last connection writes the log back and deletes it.
            try database.close()
        } catch {
            options.report(.closeFailed(StorageError(error)))
        }
    }

    private func work(_ connection: Connection) throws(StorageError) {
        let writer = try Writer(connection)
        do throws(StorageError) {
            for owner in try writer.loadTombstones() { removals.append(owner) }
            journal.noteRemovals(removals.count)
        } catch {
            // Damaged there: everything else may still work.
            options.report(.removalFailed(error))
        }
        sqlite3_wal_hook(
            connection.handle,
            { context, _, _, pages in
                context?.assumingMemoryBound(to: Int32.self).pointee = pages
                return SQLITE_OK
            }, logPages)

        var group: [Submission] = []
        var results: [Result<[MutationOutcome], StorageError>] = []
        while true {
            let delays = [sweepDelay, indexDelay(writer)].compactMap { $0 }
            switch journal.next(into: &group, idleAfter: delays.min()) {
            case .group:
                writer.commit(group, into: &results, beforeCommit: internals.beforeCommit)
                for owner in writer.takeRemovals() { removals.append(owner) }
                finish(group, results)
                // What is large in them need not wait for the next group to be freed.
                group.removeAll(keepingCapacity: true)
                results.removeAll(keepingCapacity: true)
                lastGroup = monotonicNow()
            case .idle:
                break
            case .finished:
                sqlite3_wal_hook(connection.handle, nil, nil)
                connection.finalizeStatements()
                return
            }
            sweep(writer)
            index(writer)
            checkpoint(connection)
        }
    }

    private func finish(_ group: [Submission], _ results: [Result<[MutationOutcome], StorageError>]) {
        var (failures, late) = (0, 0)
        var failure: StorageError?
        var rows = 0
        for (submission, result) in zip(group, results) {
            switch result {
            case .success:
                rows += submission.rows
            case .failure(.noSuchOwner):
                // Its account was removed before: that says nothing of the disk.
                late += 1
            case .failure(let error):
                failures += 1
                failure = error
            }
        }
        journal.finish(
            group, rows: rows, failed: failures + late, logPages: Int(logPages.pointee),
            pendingRemovals: removals.count)
        if late < group.count { report(failure, failures) }
        for (submission, result) in zip(group, results) { submission.completion(result) }
    }

    /// Says when batches begin to fail and when they succeed again, not each time: on a full disk that would be often.
    private func report(_ failure: StorageError?, _ failures: Int) {
        if let failure {
            if failedBatches == 0 { options.report(.batchesFail(failure)) }
            failedBatches += failures
        } else if failedBatches > 0 {
            options.report(.batchesSucceed(failed: failedBatches))
            failedBatches = 0
        }
    }

    /// Without statements nothing can be stored: says so to everybody.
    private func failAll(_ error: StorageError) {
        var group: [Submission] = []
        while journal.next(into: &group, idleAfter: nil) == .group {
            finish(group, group.map { _ in .failure(error) })
        }
    }

    // MARK: Between the groups

    /// Nil: nothing to delete.
    private var sweepDelay: Duration? {
        guard !removals.isEmpty else { return nil }
        let now = monotonicNow()
        return now >= sweepAfter ? .zero : .nanoseconds(Int64(clamping: sweepAfter - now))
    }

    /// Deletes some rows of the first removed account: few, so that a batch that comes meanwhile waits little.
    private func sweep(_ writer: Writer) {
        guard let owner = removals.first, sweepDelay == .zero else { return }
        do throws(StorageError) {
            try internals.beforeSweep?()
            let count = try writer.sweep(owner, limit: internals.sweepRows)
            removedRows += count
            sweepPause = internals.sweepPause
            guard count < internals.sweepRows else { return }
            _ = removals.popFirst()
            options.report(.removed(owner, rows: removedRows))
            removedRows = 0
            journal.noteRemovals(removals.count)
        } catch {
            options.report(.removalFailed(error))
            sweepAfter = monotonicNow() + sweepPause.nanoseconds
            sweepPause = min(sweepPause * 2, .seconds(60))
        }
    }

    /// Nil: nothing to look at.
    private func indexDelay(_ writer: Writer) -> Duration? {
        guard let backlog = try? writer.peerCursor().backlog, backlog > 0 else { return nil }
        let pace = internals.index
        if backlog > pace.many, lastIndexSucceeded { return .zero }
        let quiet = backlog >= pace.some && lastIndexSucceeded ? pace.pause : pace.rest
        let (now, due) = (monotonicNow(), lastGroup &+ quiet.nanoseconds)
        return now >= due ? .zero : .nanoseconds(Int64(clamping: due - now))
    }

    /// So that a query for one peer need not walk an archive. If it fails, queries walk what has not been looked at.
    private func index(_ writer: Writer) {
        guard indexDelay(writer) == .zero else { return }
        do throws(StorageError) {
            try writer.indexPeers(limit: internals.index.step)
            lastIndexSucceeded = true
        } catch {
            if lastIndexSucceeded { options.report(.indexFailed(error)) }
            lastIndexSucceeded = false
            lastGroup = monotonicNow()
        }
    }

    /// Writes the log back once it is long. After the completions: nobody waits for this but the next group.
    private func checkpoint(_ connection: Connection) {
        let pages = logPages.pointee
        let step = Int32(clamping: max(1, options.checkpointPages))
        if pages < step { checkpointAt = step }
        guard pages >= checkpointAt else { return }
        var total: Int32 = 0
        var moved: Int32 = 0
        let code = sqlite3_wal_checkpoint_v2(connection.handle, nil, SQLITE_CHECKPOINT_PASSIVE, &total, &moved)
        if code == SQLITE_OK, moved == total {
            // The next commit begins the log anew.
            logPages.pointee = 0
            checkpointAt = step
        } else {
            // A read holds an old page, or it failed: again when the log has grown.
            checkpointAt = pages > Int32.max - step ? pages : pages + step
            if code != SQLITE_OK, code != SQLITE_BUSY { options.report(.checkpointFailed(connection.failure(code))) }
        }
    }
}
