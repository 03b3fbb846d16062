internal import Dispatch
internal import GRDB
internal import Glibc
public import ModuleKit

/// The storage in an SQLite database: one thread writes, a few read, and nobody else ever waits for the disk.
///
/// What is submitted while a commit runs is the next transaction. The database belongs to one process at a time. A
/// commit that fails takes its batches with it and no others: the next one may succeed again, say when there is space.
public final class SQLStorage: StorageBackend {
    private let journal: Journal
    private let options: SQLOptions
    public let epoch: StorageEpoch

    /// Opens the database, and makes it if there is none and the options do not forbid it.
    ///
    /// Takes milliseconds whatever its size, unless the verification is `.full`. Blocks; not for an event loop.
    ///
    /// - Throws: `.damaged` if what is there is not ours, newer than us or damaged; `.full`; `.failed` if it is in use
    ///   by another process, read-only or cannot be opened, with the reason.
    public static func open(_ options: SQLOptions) throws(StorageError) -> SQLStorage {
        try open(options, Internals())
    }

    /// Whether a process has this database open at the moment, this one included. False if it does not exist.
    public static func isInUse(_ options: SQLOptions) -> Bool {
        // Asks as a lock that is given back at once; nothing is made.
        let descriptor = Glibc.open(options.path + ".lock", O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        return flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
    }

    /// What tests put in place of the real thing.
    struct Internals: Sendable {
        var migrations = Schema.migrations
        /// Runs on the writer's thread between the last row and the commit.
        var beforeCommit: (@Sendable () throws(StorageError) -> Void)?
        /// Rows of a removed account that are deleted in one transaction.
        var sweepRows = 500
        /// How long deleting rests after it failed; twice as long after the next failure.
        var sweepPause: Duration = .seconds(1)
        /// Runs on the writer's thread before each such transaction.
        var beforeSweep: (@Sendable () throws(StorageError) -> Void)?
        var index = IndexPace()
    }

    /// When the index of peers is built on (`Writer+Peers`).
    struct IndexPace: Sendable {
        /// Bodies that one step looks at.
        var step = 500
        /// So many wait for `pause` without a commit, fewer for `rest`.
        var some: Int64 = 256
        var pause: Duration = .seconds(1)
        var rest: Duration = .seconds(60)
        /// So many wait for nothing.
        var many: Int64 = 50_000
    }

    static func open(_ options: SQLOptions, _ internals: Internals) throws(StorageError) -> SQLStorage {
        let file = try DatabaseFile(options)
        let lock = try file.lock()
        do throws(StorageError) {
            return try open(file, lock, internals)
        } catch {
            Glibc.close(lock)
            throw error
        }
    }

    private static func open(
        _ file: DatabaseFile, _ lock: Int32, _ internals: Internals
    ) throws(StorageError) -> SQLStorage {
        let options = file.options
        var state = try file.state()
        if state == .absent {
            guard options.makesMissing else { throw .damaged("\(options.path) is missing") }
            try file.make(internals.migrations)
            options.report(.migrated(from: 0, to: internals.migrations.count))
            state = .present(hasLog: false)
        }
        let database = try file.openWriter()
        let epoch: StorageEpoch
        do {
            epoch = try database.inDatabase { database in
                let connection = try Connection(database)
                if state == .present(hasLog: true) {
                    let pages = try file.recover(connection)
                    if pages > 0 { options.report(.recovered(pages: pages)) }
                }
                let version = try Schema.examine(connection, internals.migrations)
                if version < internals.migrations.count {
                    _ = try Schema.migrate(connection, internals.migrations)
                    options.report(.migrated(from: version, to: internals.migrations.count))
                }
                try file.verify(connection, internals.migrations)
                return try Lineage.take(connection, file, lock)
            }
        } catch {
            try? database.close()
            throw file.named(error)
        }
        return try start(file, lock, database, epoch, internals)
    }

    private static func start(
        _ file: DatabaseFile, _ lock: Int32, _ database: DatabaseQueue, _ epoch: StorageEpoch, _ internals: Internals
    ) throws(StorageError) -> SQLStorage {
        let options = file.options
        let timekeeper = Timekeeper(interval: min(max(options.readTimeout / 10, .milliseconds(5)), .milliseconds(500)))
        let readers = ReadPool(timekeeper)
        for _ in 0..<min(max(options.readers, 1), 16) {
            guard readers.start(try file.openReader()) else {
                readers.close()
                throw .failed("cannot start a thread")
            }
        }
        let journal = Journal(options, readers, timekeeper)
        let thread = WriterThread(journal, readers, options, internals)
        let hasStarted = startThread {
            thread.run(database)
            Glibc.close(lock)
            timekeeper.close()
            journal.finished()
        }
        let hasClock = startThread {
            timekeeper.run {
                journal.hasParked || readers.hasWaiting
            } check: { now in
                for job in journal.takeLate(now) + readers.takeLate(now) { job.run(.failure(.timeout))() }
            }
        }
        guard hasStarted, hasClock else {
            if !hasStarted { readers.close() }
            timekeeper.close()
            journal.close {}
            throw .failed("cannot start a thread")
        }
        return SQLStorage(journal, options, epoch)
    }

    private init(_ journal: Journal, _ options: SQLOptions, _ epoch: StorageEpoch) {
        self.journal = journal
        self.options = options
        self.epoch = epoch
    }

    deinit {
        // Whoever did not wait for `close()` gets the same, only later.
        journal.close {}
    }

    // MARK: StorageBackend

    public func submit(
        _ batch: [Mutation], then completion: @escaping @Sendable (Result<[MutationOutcome], StorageError>) -> Void
    ) {
        guard let refusal = journal.submit(batch, completion) else { return }
        Self.refusals.async { completion(.failure(refusal)) }
    }

    public func read<Value: Sendable>(
        _ owners: [OwnerID], _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value,
        then completion: @escaping @Sendable (Result<Value, StorageError>) -> Void
    ) {
        let deadline = monotonicNow() + options.readTimeout.nanoseconds
        let job = ReadJob(
            run: { snapshot in
                let result: Result<Value, StorageError>
                do throws(StorageError) {
                    result = .success(try body(try snapshot.get()))
                } catch {
                    result = .failure(error)
                }
                return { completion(result) }
            }, deadline: deadline)
        guard let refusal = journal.read(owners, job) else { return }
        Self.refusals.async { completion(.failure(refusal)) }
    }

    /// Tells those who were not queued: on one thread, however many they are.
    private static let refusals = DispatchQueue(label: "martlet.storage.refusals")

    public var isPressed: Bool { journal.isPressed }

    public func close() async {
        await withCheckedContinuation { continuation in
            journal.close { continuation.resume() }
        }
    }

    /// How the storage does at the moment.
    public var status: SQLStatus { journal.currentStatus }
}
