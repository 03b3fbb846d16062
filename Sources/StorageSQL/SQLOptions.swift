public import ModuleKit

/// Where a database lies and how it is run.
public struct SQLOptions: Sendable {
    /// What becomes of what was committed when the power fails.
    public enum Durability: Sendable {
        /// Every commit is synced before it is told of.
        case full
        /// The system writes when it likes. Only for tests that prove that `full` is needed, and for benchmarks.
        case none
    }

    /// How closely a database is looked at before it is used.
    public enum Verification: Sendable {
        /// Identity, schema and size; reads a few pages, however large the database is.
        case quick
        /// Every page as well (`PRAGMA quick_check`): about a second per gigabyte.
        case full
    }

    /// The database file. Its directory must exist; beside it appear files with `-wal`, `-shm` and `.lock` behind
    /// its name.
    public var path: String
    /// Whether `open` makes a database where none is. A server says no: where one was, or where somebody has mistyped
    /// its place, an empty one would be taken for it.
    public var makesMissing = true
    /// Threads that read, 1...16.
    public var readers = 2
    /// Most rows in one transaction; a larger batch is a transaction of its own.
    public var groupRows = 1_000
    /// How much may wait for the disk.
    public var marks = StorageMarks()
    /// How long a read waits for its turn, or for the writes before it.
    public var readTimeout: Duration = .seconds(5)
    /// How long a commit waits while another program holds the database, such as a backup or an operator's shell.
    public var busyTimeout: Duration = .seconds(10)
    /// Pages of the log after which it is written back into the database.
    public var checkpointPages = 2_000
    public var durability = Durability.full
    public var verification = Verification.quick
    /// SQLite's name of the file system to use. `dropunsynced` is the one of crash trials and tests; nil: the default.
    public var vfs: String?
    /// Told what no caller would hear of otherwise, on a thread of the storage: one call per event, never with a
    /// message or a name in it.
    public var report: @Sendable (SQLReport) -> Void = { _ in }

    public init(path: String) {
        self.path = path
    }
}

/// What happened in the storage that concerns an operator rather than a caller.
public enum SQLReport: Hashable, Sendable, CustomStringConvertible {
    /// The last stop was not clean; what its log held was taken over.
    case recovered(pages: Int)
    /// The schema was brought from one version to another; from 0: made new.
    case migrated(from: Int, to: Int)
    /// Batches failed, with this error as the last; once until they succeed again, however many follow.
    case batchesFail(StorageError)
    /// A batch succeeded again after so many had failed.
    case batchesSucceed(failed: Int)
    /// So much waits that batches or reads are refused; once until the queue is short again.
    case overloaded
    /// The log could not be written back into the database. It grows until a later attempt succeeds.
    case checkpointFailed(StorageError)
    /// The rows of removed accounts could not all be deleted. They stay invisible, and it is tried again.
    case removalFailed(StorageError)
    /// The index of archives by peer is not built on; queries work without it, and more slowly.
    case indexFailed(StorageError)
    /// Every row of a removed account is gone.
    case removed(OwnerID, rows: Int)
    /// Something failed while closing; what was acknowledged is in the database or its log.
    case closeFailed(StorageError)

    public var description: String {
        switch self {
        case .recovered(let pages): "recovered \(pages) pages of the log after an unclean stop"
        case .migrated(0, let to): "new database, schema \(to)"
        case .migrated(let from, let to): "schema \(from) is now schema \(to)"
        case .batchesFail(let error): "batches fail: \(error)"
        case .batchesSucceed(let failed): "batches succeed again, after \(failed) failed"
        case .overloaded: "too much waits for the disk: batches or reads are refused"
        case .checkpointFailed(let error): "checkpoint failed: \(error)"
        case .indexFailed(let error): "indexing archives by peer failed: \(error)"
        case .removalFailed(let error): "deleting the rows of removed accounts failed: \(error)"
        case .removed(let owner, let rows): "deleted \(rows) rows of removed account \(owner)"
        case .closeFailed(let error): "close failed: \(error)"
        }
    }
}

/// How the storage does, for `status` and for metrics. Counted since it was opened.
public struct SQLStatus: Hashable, Sendable {
    public var queuedRows = 0
    public var queuedBytes = 0
    public var committedBatches = 0
    public var committedRows = 0
    public var failedBatches = 0
    /// Batches and reads that were not queued, since too much waited.
    public var refused = 0
    public var transactions = 0
    /// Reads that wait for the writes before them.
    public var parkedReads = 0
    /// Pages in the log that are not yet written back.
    public var logPages = 0
    /// Removed accounts whose rows are still being deleted.
    public var pendingRemovals = 0
}
