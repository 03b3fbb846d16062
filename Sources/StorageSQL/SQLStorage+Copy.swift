internal import GRDB
public import ModuleKit

extension SQLStorage {
    /// Copies a database to a new file as it is at one moment, also while a process has it open: it goes on writing
    /// meanwhile. Blocks; not for an event loop.
    ///
    /// - Throws: `.full`, or `.failed` with the reason; what was written of the copy is then of no use.
    public static func copy(_ path: String, to copy: String) throws(StorageError) {
        let file = try DatabaseFile(SQLOptions(path: path))
        do {
            let source = try file.openReader()
            let target = try DatabaseQueue(path: copy)
            try source.backup(to: target)
            try target.close()
            try source.close()
        } catch {
            throw file.named(error)
        }
    }
}
