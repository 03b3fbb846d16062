internal import CSQLiteVFS
internal import GRDB
internal import GRDBSQLite
internal import Glibc
internal import ModuleKit

/// The file of a database: its lock, its identity, its making and its opening.
struct DatabaseFile {
    let options: SQLOptions
    var path: String { options.path }

    init(_ options: SQLOptions) throws(StorageError) {
        self.options = options
        if options.vfs == "dropunsynced" {
            let code = martlet_vfs_register()
            guard code == 0 else { throw .failed("cannot register the file system \(options.vfs ?? "") (\(code))") }
        }
    }

    // MARK: Lock

    /// Takes the lock that keeps a second process, or a second opening in this one, away; closing the descriptor, or
    /// the end of the process, gives it back.
    ///
    /// A file of its own, since SQLite's locks on the database would be lost whenever anybody here closed it.
    func lock() throws(StorageError) -> Int32 {
        let descriptor = open(path + ".lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("cannot open \(path).lock") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let inUse = errno == EWOULDBLOCK
            let error = failure("cannot lock \(path).lock")
            close(descriptor)
            throw inUse ? .failed("\(path) is in use by another process") : error
        }
        return descriptor
    }

    // MARK: Identity

    enum State: Hashable {
        case absent
        /// A log with something in it lies beside the database: the last stop was not clean.
        case present(hasLog: Bool)
    }

    /// Looks at the file without SQLite, which would already write into a foreign one.
    ///
    /// - Throws: `.damaged` if the file is not a database of Martlet; `.failed` if it cannot be looked at.
    func state() throws(StorageError) -> State {
        let logSize = size(of: path + "-wal") ?? 0
        guard let size = size(of: path) else {
            guard errno == ENOENT else { throw failure("cannot open \(path)") }
            guard logSize == 0 else { throw .damaged("\(path) is missing, but its log \(path)-wal is there") }
            return .absent
        }
        // A new database gets its name when it is complete: one that is empty was not made so.
        guard size > 0 else { throw .damaged("\(path) is empty: its content is lost") }

        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open \(path)") }
        defer { close(descriptor) }
        var header = [UInt8](repeating: 0, count: 100)
        guard pread(descriptor, &header, 100, 0) == 100, header.starts(with: "SQLite format 3\0".utf8) else {
            throw .damaged("\(path) is not an SQLite database")
        }
        let applicationID = header[68..<72].reduce(0) { $0 << 8 | Int64($1) }
        guard applicationID == Schema.applicationID else {
            throw .damaged("\(path) is a database of another program (application id \(applicationID))")
        }
        return .present(hasLog: logSize > 0)
    }

    private func size(of path: String) -> Int64? {
        var information = stat()
        return stat(path, &information) == 0 ? Int64(information.st_size) : nil
    }

    // MARK: Making

    /// Makes the database under another name and gives it its own when it is complete and synced, so that a crash
    /// leaves none or a whole one.
    func make(_ migrations: [String]) throws(StorageError) {
        let temporary = path + ".new"
        for suffix in ["", "-journal", "-wal", "-shm"] { unlink(temporary + suffix) }
        // Made here, for its mode: SQLite gives log and index the mode of the database.
        let descriptor = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("cannot make \(temporary)") }
        close(descriptor)
        do {
            let queue = try DatabaseQueue(path: location(temporary), configuration: configuration(readOnly: false))
            try queue.inDatabase { database in
                let connection = try Connection(database)
                try connection.execute("PRAGMA synchronous = FULL")
                _ = try Schema.migrate(connection, migrations)
            }
            try queue.close()
        } catch {
            unlink(temporary)
            throw StorageError(error)
        }
        guard rename(temporary, path) == 0 else { throw failure("cannot rename \(temporary)") }
        try syncDirectory()
    }

    func syncDirectory() throws(StorageError) {
        let end = path.lastIndex(of: "/")
        let directory = end.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open \(directory)") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot sync \(directory)") }
    }

    // MARK: Opening

    /// The connection that writes, ready but for the migrations.
    func openWriter() throws(StorageError) -> DatabaseQueue {
        do {
            let queue = try DatabaseQueue(path: location(path), configuration: configuration(readOnly: false))
            try queue.inDatabase { database in
                let connection = try Connection(database)
                // SQLite opens a file that it must not write read-only, without a word.
                guard sqlite3_db_readonly(connection.handle, "main") == 0 else {
                    throw StorageError.failed("\(path) is read-only")
                }
                try connection.execute("PRAGMA journal_mode = WAL")
                // FULL: each commit syncs the log. Set after the change to WAL, and looked at below.
                try connection.execute("PRAGMA synchronous = \(options.durability == .full ? "FULL" : "OFF")")
                try connection.execute("PRAGMA cache_size = -16000")
                try connection.execute("PRAGMA journal_size_limit = 67108864")
                // Debian's SQLite overwrites everything deleted with zeros: only where that costs no more writing.
                try connection.execute("PRAGMA secure_delete = FAST")
                let expected: Int64 = options.durability == .full ? 2 : 0
                guard try connection.number("PRAGMA synchronous") == expected else {
                    throw StorageError.failed("\(path): SQLite does not sync as told")
                }
            }
            return queue
        } catch {
            throw named(error)
        }
    }

    func openReader() throws(StorageError) -> DatabaseQueue {
        do {
            return try DatabaseQueue(path: location(path), configuration: configuration(readOnly: true))
        } catch {
            throw named(error)
        }
    }

    private func configuration(readOnly: Bool) -> Configuration {
        var configuration = Configuration()
        configuration.readonly = readOnly
        configuration.foreignKeysEnabled = false
        let busy = options.busyTimeout.components
        configuration.busyMode = .timeout(Double(busy.seconds) + Double(busy.attoseconds) / 1e18)
        // A transaction that cannot be rolled back, since the disk is gone, must not be a trap.
        configuration.allowsUnsafeTransactions = true
        return configuration
    }

    /// How SQLite is told of a file: a plain path, or a URI if it has to name a file system.
    private func location(_ path: String) -> String {
        // SQLite takes names that begin with `file:` or `:` for something else.
        let plain = path.hasPrefix("/") ? path : "./" + path
        guard let vfs = options.vfs else { return plain }
        let digits = Array("0123456789abcdef".utf8)
        var uri = Array("file:".utf8)
        for byte in plain.utf8 {
            if (0x61...0x7a).contains(byte | 0x20) || (0x2d...0x39).contains(byte) || byte == 0x5f {
                uri.append(byte)
            } else {
                uri += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: uri, as: UTF8.self) + "?vfs=" + vfs
    }

    /// The error with the name of the file in it.
    func named(_ error: any Error) -> StorageError {
        switch StorageError(error) {
        case .failed(let text) where !text.contains(path): .failed("\(path): \(text)")
        case .damaged(let text) where !text.contains(path): .damaged("\(path): \(text)")
        case let error: error
        }
    }

    private func failure(_ text: String) -> StorageError {
        let code = errno
        return code == ENOSPC || code == EDQUOT ? .full : .failed("\(text): \(String(cString: strerror(code)))")
    }

    // MARK: Checking

    /// Takes over what the log holds, then looks whether the file is whole. Gives the pages taken over.
    func recover(_ connection: Connection) throws(StorageError) -> Int {
        var pages: Int32 = 0
        var code = sqlite3_wal_checkpoint_v2(connection.handle, nil, SQLITE_CHECKPOINT_PASSIVE, &pages, nil)
        guard code == SQLITE_OK else { throw connection.failure(code) }
        // This one empties the log, and so would count nothing. Another program that reads may keep it from that.
        code = sqlite3_wal_checkpoint_v2(connection.handle, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
        guard code == SQLITE_OK || code == SQLITE_BUSY else { throw connection.failure(code) }
        return max(0, Int(pages))
    }

    func verify(_ connection: Connection, _ migrations: [String]) throws(StorageError) {
        try Schema.verify(connection, migrations)
        let expected = try connection.number("PRAGMA page_count") * connection.number("PRAGMA page_size")
        if let size = size(of: path), size < expected, self.size(of: path + "-wal") ?? 0 == 0 {
            throw .damaged("\(path) is cut off: \(size) of \(expected) bytes are there")
        }
        guard options.verification == .full else { return }
        try connection.quickCheck(path)
    }
}
