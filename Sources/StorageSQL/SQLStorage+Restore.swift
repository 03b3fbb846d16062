internal import GRDB
internal import GRDBSQLite
internal import Glibc
public import ModuleKit

extension SQLStorage {
    /// Makes a new, empty database. Blocks; not for an event loop.
    ///
    /// - Throws: `.failed` if there is one already, or if it cannot be made; `.damaged` if the log of one is there.
    public static func make(_ options: SQLOptions) throws(StorageError) {
        let file = try DatabaseFile(options)
        let lock = try file.lock()
        defer { Glibc.close(lock) }
        guard try file.state() == .absent else { throw .failed("\(options.path) exists already") }
        try file.make(Schema.migrations)
        options.report(.migrated(from: 0, to: Schema.migrations.count))
    }

    /// Puts a copy of a database (with its log, if it has one) into the place of another, whole or not at all. The copy
    /// is read from end to end before anything is replaced. Blocks; not for an event loop.
    ///
    /// What stood there goes into the directory `aside`, the database before its log, and only then the copy gets the
    /// name: a database without its log would lack what was committed, and a log beside another database would spoil
    /// that one. A crash in between leaves no database, which `open` refuses with the reason.
    ///
    /// - Parameter aside: made if it is needed; on the same file system as the database.
    /// - Returns: Whether anything was put aside.
    /// - Throws: `.full`; `.damaged` if the copy is not ours, newer than us or not whole; `.failed` with the reason.
    ///   Until the copy is known to be good, nothing has changed.
    public static func restore(
        _ copy: String, to options: SQLOptions, aside: String
    ) throws(StorageError) -> Bool {
        let file = try DatabaseFile(options)
        let lock = try file.lock()
        defer { Glibc.close(lock) }
        let temporary = options.path + ".restored"
        let suffixes = ["", "-wal", "-shm", "-journal"]
        func clear() { for suffix in suffixes { unlink(temporary + suffix) } }
        clear()
        do throws(StorageError) {
            try copyFile(copy, to: temporary)
            // A copy that was made by other means than ours may have part of its content there.
            if access(copy + "-wal", F_OK) == 0 { try copyFile(copy + "-wal", to: temporary + "-wal") }
            try check(temporary, as: copy)
            let hasOld = try putAside(options.path, suffixes, in: aside)
            guard rename(temporary, options.path) == 0 else { throw failure("cannot rename \(temporary)") }
            try file.syncDirectory()
            clear()
            return hasOld
        } catch {
            clear()
            throw error
        }
    }

    /// Leaves one file without a log beside it.
    private static func check(_ path: String, as name: String) throws(StorageError) {
        do {
            let file = try DatabaseFile(SQLOptions(path: path))
            guard try file.state() != .absent else { throw StorageError.failed("\(path) is gone") }
            let database = try file.openWriter()
            try database.inDatabase { database in
                let connection = try Connection(database)
                _ = try file.recover(connection)
                let version = Int(try connection.number("PRAGMA user_version"))
                guard (1...Schema.migrations.count).contains(version) else {
                    throw StorageError.damaged(
                        "it has schema \(version), this Martlet knows 1 to \(Schema.migrations.count)")
                }
                let check = try connection.prepare("PRAGMA quick_check(1)")
                defer { connection.finalizeStatements() }
                if try check.step(), check.text(0) != "ok" {
                    throw StorageError.damaged("it is damaged: \(check.text(0))")
                }
            }
            try database.close()
            try sync(path)
        } catch {
            // The operator knows the copy, not the file that is looked at.
            switch StorageError(error) {
            case .damaged(let text): throw .damaged("\(name): " + replacing(path, with: "it", in: text))
            case .failed(let text): throw .failed("\(name): " + replacing(path, with: "it", in: text))
            case let error: throw error
            }
        }
    }

    private static func replacing(_ path: String, with other: String, in text: String) -> String {
        guard let range = text.firstRange(of: path) else { return text }
        return text[..<range.lowerBound] + other + text[range.upperBound...]
    }

    private static func putAside(_ path: String, _ suffixes: [String], in aside: String) throws(StorageError) -> Bool {
        let there = suffixes.filter { access(path + $0, F_OK) == 0 }
        guard !there.isEmpty else { return false }
        guard mkdir(aside, 0o700) == 0 else { throw failure("cannot make \(aside)") }
        let name = path.lastIndex(of: "/").map { path[path.index(after: $0)...] } ?? path[...]
        for suffix in there {
            guard rename(path + suffix, "\(aside)/\(name)\(suffix)") == 0 else {
                throw failure("cannot move \(path)\(suffix)")
            }
        }
        try sync(aside)
        return true
    }

    private static func copyFile(_ from: String, to path: String) throws(StorageError) {
        let source = Glibc.open(from, O_RDONLY | O_CLOEXEC)
        guard source >= 0 else { throw failure("cannot open \(from)") }
        defer { Glibc.close(source) }
        let target = Glibc.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard target >= 0 else { throw failure("cannot make \(path)") }
        defer { Glibc.close(target) }
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        while true {
            let count = Glibc.read(source, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("cannot read \(from)") }
            guard count > 0 else { break }
            var rest = chunk[..<count]
            while !rest.isEmpty {
                let written = rest.withUnsafeBytes { Glibc.write(target, $0.baseAddress, $0.count) }
                if written < 0, errno == EINTR { continue }
                guard written > 0 else { throw failure("cannot write \(path)") }
                rest = rest.dropFirst(written)
            }
        }
        guard fsync(target) == 0 else { throw failure("cannot sync \(path)") }
    }

    /// A file or a directory.
    private static func sync(_ path: String) throws(StorageError) {
        let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open \(path)") }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot sync \(path)") }
    }

    private static func failure(_ text: String) -> StorageError {
        let code = errno
        return code == ENOSPC || code == EDQUOT ? .full : .failed("\(text): \(String(cString: strerror(code)))")
    }
}
