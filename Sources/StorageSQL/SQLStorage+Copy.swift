internal import GRDB
internal import Glibc
public import ModuleKit

extension SQLStorage {
    /// Copies a database to a new file as it is at one moment, also while a process has it open: it goes on writing
    /// meanwhile. Reads the copy once more to see that it is whole. Blocks; not for an event loop.
    ///
    /// - Throws: `.full`; `.damaged` if what would be copied is not ours or not whole; `.failed` with the reason. There
    ///   is no copy then.
    public static func copy(_ path: String, to copy: String) throws(StorageError) {
        let file = try DatabaseFile(SQLOptions(path: path))
        // Made here, for its mode.
        let descriptor = Glibc.open(copy, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .failed("cannot make \(copy): \(String(cString: strerror(errno)))") }
        Glibc.close(descriptor)
        do {
            let source = try file.openReader()
            let target = try DatabaseQueue(path: copy)
            try source.backup(to: target)
            try target.inDatabase { try verify(try Connection($0), path) }
            try target.close()
            try source.close()
        } catch {
            for suffix in ["", "-journal", "-wal", "-shm"] { unlink(copy + suffix) }
            throw file.named(error)
        }
    }

    /// A copy of what is lost or of somebody else would be found out when it is needed.
    private static func verify(_ copy: Connection, _ path: String) throws(StorageError) {
        let identity = try copy.number("PRAGMA application_id")
        guard identity == Schema.applicationID else {
            throw .damaged("\(path) is not a database of Martlet (application id \(identity))")
        }
        let check = try copy.prepare("PRAGMA quick_check(1)")
        defer { copy.finalizeStatements() }
        if try check.step(), check.text(0) != "ok" { throw .damaged("\(path) is damaged: \(check.text(0))") }
    }
}
