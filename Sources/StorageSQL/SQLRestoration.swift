internal import GRDB
internal import Glibc
public import ModuleKit

/// A copy of a database on its way into the place of another, whole or not at all. Blocks; not for an event loop.
///
/// `SQLStorage.restoration` copies it beside the place and reads it from end to end. Then the caller keeps what is in
/// `replaced`, has it removed, and ends with `finish`. A crash before the removal leaves the old database, a crash
/// behind it leaves none, which `open` refuses with the reason. A restoration that is let go unfinished takes its copy
/// away again; the copy that a crash leaves is replaced by the next restoration. The database's lock is held all the
/// while.
public final class SQLRestoration {
    private let file: DatabaseFile
    private let lock: Int32
    private var path: String { file.path }

    /// The end of the copy's name until it has that of the database.
    public static let suffix = ".restored"
    private static let suffixes = ["", "-wal", "-journal", "-shm"]

    fileprivate init(_ file: DatabaseFile, _ lock: Int32) {
        self.file = file
        self.lock = lock
    }

    deinit {
        clear()
        Glibc.close(lock)
    }

    private func clear() {
        for suffix in Self.suffixes { unlink(path + Self.suffix + suffix) }
    }

    /// The files that stand in the place, the database before its log.
    public var replaced: [String] { Self.suffixes.map { path + $0 }.filter { access($0, F_OK) == 0 } }

    /// Removes them: a database without its log would lack what was committed, and a log beside another database would
    /// spoil that one. So the database goes first, and all of them before the copy gets the name.
    public func removeReplaced() throws(StorageError) {
        for path in replaced where unlink(path) != 0 { throw Self.failure("cannot remove \(path)") }
        try file.syncDirectory()
    }

    /// Gives the copy its name, durably.
    ///
    /// - Throws: `.failed` as well if something stands there.
    public func finish() throws(StorageError) {
        if let path = replaced.first { throw .failed("\(path) is in the way") }
        guard rename(path + Self.suffix, path) == 0 else { throw Self.failure("cannot rename \(path)\(Self.suffix)") }
        try file.syncDirectory()
    }

    // MARK: Preparing

    fileprivate func prepare(_ copy: String) throws(StorageError) {
        clear()
        let temporary = path + Self.suffix
        try Self.copyFile(copy, to: temporary)
        // A copy that was made by other means than ours may have part of its content there.
        if access(copy + "-wal", F_OK) == 0 { try Self.copyFile(copy + "-wal", to: temporary + "-wal") }
        try Self.check(temporary, as: copy)
    }

    /// Leaves one file without a log beside it, marked as a copy.
    private static func check(_ path: String, as name: String) throws(StorageError) {
        do {
            let file = try DatabaseFile(SQLOptions(path: path))
            guard try file.state() != .absent else { throw StorageError.failed("\(path) is gone") }
            let database = try file.openWriter()
            try database.inDatabase { database in
                let connection = try Connection(database)
                _ = try file.recover(connection)
                _ = try Schema.examine(connection)
                try connection.quickCheck("it")
                try Lineage.markAsCopy(connection)
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

    /// Copies a database (with its log, if it has one) beside the place that it is to take.
    ///
    /// - Throws: `.full`; `.damaged` if the copy is empty, lacks a table, is not ours, newer than us or not whole;
    ///   `.failed` with the reason. Nothing has changed then.
    public static func restoration(of copy: String, to options: SQLOptions) throws(StorageError) -> SQLRestoration {
        let file = try DatabaseFile(options)
        let restoration = SQLRestoration(file, try file.lock())
        try restoration.prepare(copy)
        return restoration
    }
}
