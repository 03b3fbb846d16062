import CSQLiteVFS
import Foundation
import GRDB
import GRDBSQLite
import Glibc
import ModuleKit
import ModuleTesting
import StorageMemory
import Synchronization

@testable import StorageSQL

/// A directory that is deleted at the end.
final class TemporaryDirectory: Sendable {
    let path: String

    init() {
        // Without symbolic links, since SQLite tells its file systems the path without them.
        let base = FileManager.default.temporaryDirectory.resolvingSymlinksInPath().path
        path = base + "/martlet-storage-" + UUID().uuidString
        try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        martlet_vfs_set_fault(path, martlet_vfs_healthy)
        try? FileManager.default.removeItem(atPath: path)
    }

    var database: String { path + "/martlet.db" }

    func options(_ change: (inout SQLOptions) -> Void = { _ in }) -> SQLOptions {
        var options = SQLOptions(path: database)
        change(&options)
        return options
    }

    /// Opens the file with SQLite itself, past the storage.
    func direct<Value>(_ body: (Database) throws -> Value) throws -> Value {
        let queue = try DatabaseQueue(path: database)
        defer { try? queue.close() }
        return try queue.inDatabase(body)
    }

    /// The first column of the first row.
    func value<Value: DatabaseValueConvertible>(_ sql: String) throws -> Value? {
        try direct { try Value.fetchOne($0, sql: sql) }
    }

    func execute(_ sql: String) throws {
        try direct { try $0.execute(sql: sql) }
    }

    func openDirectly() throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        return try DatabaseQueue(path: database, configuration: configuration)
    }

    func read(_ name: String = "martlet.db") throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: path + "/" + name))
    }

    func write(_ data: Data, to name: String = "martlet.db") throws {
        try data.write(to: URL(fileURLWithPath: path + "/" + name))
    }
}

/// Holds the writer back before its commits.
final class Gate: Sendable {
    private let condition = NSCondition()
    private let isShut = Mutex(false)

    func shut() {
        isShut.withLock { $0 = true }
    }

    func open() {
        condition.lock()
        isShut.withLock { $0 = false }
        condition.broadcast()
        condition.unlock()
    }

    func pass() {
        condition.lock()
        while isShut.withLock({ $0 }) { condition.wait() }
        condition.unlock()
    }
}

/// A file system of a few bytes.
struct SmallFileSystem {
    let path: String

    /// Nil: not allowed here.
    init?(at path: String, bytes: Int) {
        self.path = path
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        guard mount("tmpfs", path, "tmpfs", 0, "size=\(bytes)") == 0 else { return nil }
    }

    func grow(to bytes: Int) {
        _ = mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT), "size=\(bytes)")
    }

    func makeReadOnly() {
        _ = mount("tmpfs", path, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil)
    }

    func unmount() {
        _ = umount2(path, Int32(MNT_DETACH))
    }
}

/// Collects what is reported.
final class Reports: Sendable {
    private let reports = Mutex<[SQLReport]>([])

    var all: [SQLReport] { reports.withLock { $0 } }

    func add(_ report: SQLReport) {
        reports.withLock { $0.append(report) }
    }
}

/// The next commits fail with these.
final class Failures: Sendable {
    private let errors = Mutex<[StorageError]>([])

    func add(_ error: StorageError) {
        errors.withLock { $0.append(error) }
    }

    func check() throws(StorageError) {
        let error = errors.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        if let error { throw error }
    }
}

extension StorageFactory {
    static let memory = StorageFactory {
        let storage = MemoryStorage(marks: marks)
        return StorageSubject(
            storage,
            reopen: { [last = Mutex(storage)] in
                last.withLock { last in
                    last = last.reopened()
                    return last
                }
            })
    }

    static let sql = StorageFactory {
        let directory = TemporaryDirectory()
        let gate = Gate()
        var internals = SQLStorage.Internals()
        internals.beforeCommit = { () throws(StorageError) in gate.pass() }
        // Small steps, so that a removal is often seen half done.
        internals.sweepRows = 7
        // And the index of peers, which is often half built.
        internals.index = SQLStorage.IndexPace(step: 3, some: 0, pause: .zero, rest: .zero)
        let open: @Sendable () throws -> SQLStorage = { [internals] in
            try SQLStorage.open(
                directory.options {
                    $0.marks = marks
                    // With everything running at once, a test may have to wait for its turn.
                    $0.readTimeout = .seconds(300)
                }, internals)
        }
        return StorageSubject(try open(), reopen: { try open() }, stall: { gate.shut() }, release: { gate.open() })
    }

    static let sqlOverTestFiles = StorageFactory {
        let directory = TemporaryDirectory()
        let options = directory.options {
            $0.marks = marks
            $0.readTimeout = .seconds(300)
            $0.vfs = "dropunsynced"
        }
        return StorageSubject(
            try SQLStorage.open(options), reopen: { try SQLStorage.open(options) },
            stall: { martlet_vfs_set_fault(directory.path, martlet_vfs_stalled) },
            release: { martlet_vfs_set_fault(directory.path, martlet_vfs_healthy) })
    }

    /// The same behind a wrapper that can do harm and does none.
    func throughFaults() -> StorageFactory {
        StorageFactory {
            let inner = try await make()
            let faulty = FaultyStorage(inner.storage, marks: Self.marks)
            let current = Mutex(faulty)
            return StorageSubject(
                faulty,
                reopen: {
                    let next = FaultyStorage(try await inner.open(), marks: Self.marks)
                    current.withLock { $0 = next }
                    return next
                }, stall: { current.withLock { $0.set(.stalled) } }, release: { current.withLock { $0.set(.none) } })
        }
    }
}

func spooled(_ id: Int64, _ owner: Int64 = 1, stanza: [UInt8] = [1, 2, 3], limit: Int = 1_000_000) -> Mutation {
    let row = SpoolRow(id: id, stamp: Timestamp(milliseconds: id), stanza: stanza)
    return .spool("offline", OwnerID(owner), row, limit: limit)
}

extension StorageBackend {
    func spoolIDs(_ owner: Int64 = 1) async throws -> [Int64] {
        try await read([OwnerID(owner)]) { snapshot throws(StorageError) in
            try snapshot.spool("offline", OwnerID(owner), after: .min, limit: .max).map(\.id)
        }
    }
}
