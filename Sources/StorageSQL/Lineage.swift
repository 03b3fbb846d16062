internal import GRDBSQLite
internal import Glibc
internal import ModuleKit

/// Tells a database that goes on from a copy that was put in its place, and renews the epoch for the copy.
///
/// Each opening writes a fresh number both into the database and, with the number of the database's file, into the lock
/// file beside it. A copy does not have what the lock file says: a backup is marked, an older file has an older number,
/// and a directory that was copied whole has other files. A renewal too many costs clients a full answer each; nothing
/// here tells a machine that was set back as a whole (docs/OPERATIONS.md).
enum Lineage {
    /// Marks a copy, so that whoever opens it knows. A copy from before there were epochs needs no mark.
    static func markAsCopy(_ connection: Connection) throws(StorageError) {
        guard try connection.number("SELECT count(*) FROM sqlite_schema WHERE name = 'lineage'") > 0 else { return }
        try connection.execute("UPDATE lineage SET opened = 0")
    }

    /// The epoch of the database that is being opened.
    ///
    /// On a full disk the epoch may be one of this opening alone; the next opening makes another one.
    ///
    /// - Parameter lock: the lock file's descriptor, for reading and writing.
    static func take(_ connection: Connection, _ file: DatabaseFile, _ lock: Int32) throws(StorageError) -> StorageEpoch
    {
        let opened = try connection.number("SELECT opened FROM lineage")
        var epoch = try connection.number("SELECT epoch FROM lineage")
        if epoch == 0 || opened == 0 || note(opened, file) != read(lock) { epoch = fresh() }
        let next = fresh()
        do throws(StorageError) {
            try connection.execute("INSERT OR REPLACE INTO lineage (id, epoch, opened) VALUES (1, \(epoch), \(next))")
        } catch .full {
            return StorageEpoch(epoch)
        }
        // A crash before the note is whole costs an epoch, no more.
        let text = Array(note(next, file).utf8)
        if ftruncate(lock, 0) == 0 { _ = pwrite(lock, text, text.count, 0) }
        return StorageEpoch(epoch)
    }

    /// Any number but 0, which stands for none.
    private static func fresh() -> Int64 { Int64.random(in: 1 ... .max) }

    private static func note(_ opened: Int64, _ file: DatabaseFile) -> String {
        var information = stat()
        let number = stat(file.path, &information) == 0 ? information.st_ino : 0
        return "\(opened) \(number)\n"
    }

    private static func read(_ lock: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = pread(lock, &bytes, bytes.count, 0)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}
