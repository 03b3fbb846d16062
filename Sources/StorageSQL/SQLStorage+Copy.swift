internal import GRDB
internal import Glibc
public import ModuleKit

extension SQLStorage {
    /// Copies a database to a new file as it is at one moment, also while a process has it open: it goes on writing
    /// meanwhile. Reads the copy once more to see that it is whole, and syncs it; syncing its directory is the caller's.
    /// The copy is marked as one, so that it gets an epoch of its own when it is opened. Blocks; not for an event loop.
    ///
    /// - Throws: `.full`; `.damaged` if what would be copied is not ours or not whole; `.failed` with the reason. There
    ///   is no copy then.
    public static func copy(_ path: String, to copy: String) throws(StorageError) {
        let file = try DatabaseFile(SQLOptions(path: path))
        // Made here, for its mode.
        let descriptor = Glibc.open(copy, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .failed("cannot make \(copy): \(String(cString: strerror(errno)))") }
        defer { Glibc.close(descriptor) }
        do {
            let source = try file.openReader()
            let target = try DatabaseQueue(path: copy)
            try source.backup(to: target)
            try target.inDatabase { database in
                let connection = try Connection(database)
                try verify(connection, path)
                try Lineage.markAsCopy(connection)
            }
            try target.close()
            try source.close()
            guard fsync(descriptor) == 0 else {
                throw errno == ENOSPC || errno == EDQUOT ? StorageError.full : .failed("cannot sync \(copy)")
            }
        } catch {
            for suffix in ["", "-journal", "-wal", "-shm"] { unlink(copy + suffix) }
            throw file.named(error)
        }
    }

    /// Looks whether there is a whole database of ours, also while a process has it open. Changes nothing, and reads a
    /// few pages however large it is. Blocks; not for an event loop.
    ///
    /// - Throws: `.damaged` if it is empty, lacks a table, is newer than us or not ours; `.failed` with the reason.
    public static func examine(_ options: SQLOptions) throws(StorageError) {
        let file = try DatabaseFile(options)
        guard try file.state() != .absent else { throw .damaged("\(options.path) is missing") }
        do {
            let reader = try file.openReader()
            _ = try reader.inDatabase { try Schema.examine(Connection($0)) }
            try reader.close()
        } catch {
            throw file.named(error)
        }
    }

    /// Reads in one snapshot of a database without taking it: also while a server has it, and nothing is changed. A long
    /// `body` keeps a server from emptying its log meanwhile.
    ///
    /// - Throws: also if the database is of an older version that lacks what can be asked for.
    public static func look<Value>(
        at options: SQLOptions, _ body: (any StorageSnapshot) throws(StorageError) -> Value
    ) throws(StorageError) -> Value {
        let file = try DatabaseFile(options)
        guard try file.state() != .absent else { throw .damaged("\(options.path) is missing") }
        do {
            let reader = try file.openReader()
            let value = try reader.inDatabase { database in
                let connection = try Connection(database)
                defer { connection.finalizeStatements() }
                let snapshot = try SQLSnapshot(connection)
                try snapshot.begin()
                defer { snapshot.end() }
                return try body(snapshot)
            }
            try reader.close()
            return value
        } catch {
            throw file.named(error)
        }
    }

    /// A copy of what is lost or of somebody else would be found out when it is needed.
    private static func verify(_ copy: Connection, _ path: String) throws(StorageError) {
        let identity = try copy.number("PRAGMA application_id")
        guard identity == Schema.applicationID else {
            throw .damaged("\(path) is not a database of Martlet (application id \(identity))")
        }
        _ = try Schema.examine(copy)
        try copy.quickCheck(path)
    }
}

extension Connection {
    /// Reads every page.
    ///
    /// - Parameter name: of what is read, for the error.
    func quickCheck(_ name: String) throws(StorageError) {
        let check = try prepare("PRAGMA quick_check(1)")
        defer { finalizeStatements() }
        if try check.step(), check.text(0) != "ok" { throw .damaged("\(name) is damaged: \(check.text(0))") }
    }
}
