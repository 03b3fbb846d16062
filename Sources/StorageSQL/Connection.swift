internal import GRDB
internal import GRDBSQLite
internal import Glibc
internal import ModuleKit

/// One connection to the database, used by one thread at a time.
///
/// GRDB opens, configures and closes it. Rows go through SQLite's C interface on GRDB's handle: with GRDB's
/// statements and unchecked arguments the same archive row cost 12–17 % more CPU (34.7 against 29.8 µs a message at 16
/// a batch, 23.1 against 20.6 at 128), it allocates for every value, and a value of an unexpected type in a damaged
/// row would be a trap there; here it is an error.
final class Connection {
    let handle: OpaquePointer
    private var prepared: [OpaquePointer] = []

    init(_ database: Database) throws(StorageError) {
        guard let handle = database.sqliteConnection else { throw .closed }
        self.handle = handle
    }

    /// A statement for the life of the connection.
    func prepare(_ sql: String) throws(StorageError) -> Statement {
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else { throw failure(code) }
        prepared.append(statement)
        return Statement(handle: statement, connection: handle)
    }

    /// Must come before GRDB closes the connection.
    func finalizeStatements() {
        for statement in prepared { sqlite3_finalize(statement) }
        prepared.removeAll()
    }

    /// Runs statements that give no rows.
    func execute(_ sql: String) throws(StorageError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw failure(code) }
    }

    /// The first column of the first row, as a number; 0 if there is none.
    func number(_ sql: String) throws(StorageError) -> Int64 {
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v2(handle, sql, -1, &statement, nil)
        guard code == SQLITE_OK, let statement else { throw failure(code) }
        defer { sqlite3_finalize(statement) }
        let query = Statement(handle: statement, connection: handle)
        return try query.step() ? query.integer(0) : 0
    }

    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    func failure(_ code: Int32) -> StorageError {
        StorageError(sqlite: code, on: handle)
    }
}

/// A prepared statement. Bind, step, read, `reset`: each use ends with a reset, also after an error.
struct Statement {
    let handle: OpaquePointer
    let connection: OpaquePointer

    func bind(_ value: Int64, at index: Int32) {
        sqlite3_bind_int64(handle, index, value)
    }

    func bindNull(at index: Int32) {
        sqlite3_bind_null(handle, index)
    }

    /// Copies the text: meant for short ones.
    func bind(_ text: String, at index: Int32) throws(StorageError) {
        var text = text
        let code = text.withUTF8 { bytes in
            bytes.withMemoryRebound(to: CChar.self) { characters in
                // A null pointer would be NULL rather than the empty text.
                sqlite3_bind_text64(
                    handle, index, characters.baseAddress ?? emptyText, UInt64(characters.count), transient,
                    UInt8(SQLITE_UTF8))
            }
        }
        guard code == SQLITE_OK else { throw StorageError(sqlite: code, on: connection) }
    }

    /// Copies the bytes: meant for short ones.
    func bind(_ bytes: [UInt8], at index: Int32) throws(StorageError) {
        let code =
            bytes.isEmpty
            ? sqlite3_bind_zeroblob(handle, index, 0)
            : sqlite3_bind_blob64(handle, index, bytes, UInt64(bytes.count), transient)
        guard code == SQLITE_OK else { throw StorageError(sqlite: code, on: connection) }
    }

    /// Runs the statement to its end with these bytes bound, which are not copied.
    func run(bytes: [UInt8], at index: Int32) throws(StorageError) {
        let code = code(bytes: bytes, at: index)
        guard code == SQLITE_OK else { throw StorageError(sqlite: code, on: connection) }
    }

    /// The same; false: a row with this unique name is there, and nothing happened.
    func runUnlessKnown(bytes: [UInt8], at index: Int32) throws(StorageError) -> Bool {
        let code = code(bytes: bytes, at: index)
        // SQLITE_CONSTRAINT_UNIQUE
        guard code != SQLITE_CONSTRAINT | 8 << 8 else { return false }
        guard code == SQLITE_OK else { throw StorageError(sqlite: code, on: connection) }
        return true
    }

    private func code(bytes: [UInt8], at index: Int32) -> Int32 {
        bytes.withUnsafeBytes { buffer in
            let bound =
                if buffer.isEmpty {
                    sqlite3_bind_zeroblob(handle, index, 0)
                } else {
                    sqlite3_bind_blob64(handle, index, buffer.baseAddress, UInt64(buffer.count), nil)
                }
            guard bound == SQLITE_OK else { return bound }
            let code = sqlite3_step(handle)
            // The bytes must not be reachable from the statement any more when they are gone.
            sqlite3_reset(handle)
            sqlite3_bind_null(handle, index)
            return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code
        }
    }

    /// Runs the statement to its end.
    func run() throws(StorageError) {
        let code = sqlite3_step(handle)
        sqlite3_reset(handle)
        guard code == SQLITE_DONE || code == SQLITE_ROW else { throw StorageError(sqlite: code, on: connection) }
    }

    /// True: a row is there to be read.
    func step() throws(StorageError) -> Bool {
        switch sqlite3_step(handle) {
        case SQLITE_ROW:
            return true
        case SQLITE_DONE:
            return false
        case let code:
            let error = StorageError(sqlite: code, on: connection)
            sqlite3_reset(handle)
            throw error
        }
    }

    func reset() {
        sqlite3_reset(handle)
    }

    func integer(_ column: Int32) -> Int64 {
        sqlite3_column_int64(handle, column)
    }

    func text(_ column: Int32) -> String {
        guard let start = sqlite3_column_text(handle, column) else { return "" }
        let count = Int(sqlite3_column_bytes(handle, column))
        return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    func bytes(_ column: Int32) -> [UInt8] {
        guard let start = sqlite3_column_blob(handle, column) else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
    }
}

/// Tells SQLite to copy what is bound.
private let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
nonisolated(unsafe) private let emptyText = UnsafePointer(strdup("")!)

/// SQLITE_IOERR_SHMSIZE: the file beside the log could not be made larger.
private let noRoomForIndex: Int32 = 4874

extension StorageError {
    /// What SQLite says, in our terms.
    init(sqlite code: Int32, on connection: OpaquePointer?) {
        let text = connection.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) } ?? "SQLite error"
        let errno = connection.map { sqlite3_system_errno($0) } ?? 0
        self.init(sqlite: code, text: text, errno: errno)
    }

    init(sqlite code: Int32, text: String, errno: Int32 = 0) {
        switch code & 0xff {
        case SQLITE_FULL:
            self = .full
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            self = .damaged("\(text) (\(code))")
        case SQLITE_IOERR where code == noRoomForIndex:
            self = .full
        case SQLITE_IOERR, SQLITE_CANTOPEN:
            if errno == ENOSPC || errno == EDQUOT {
                self = .full
            } else {
                let reason = errno == 0 ? "" : ", \(String(cString: strerror(errno)))"
                self = .failed("\(text)\(reason) (\(code))")
            }
        default:
            self = .failed("\(text) (\(code))")
        }
    }

    /// An error of GRDB.
    init(_ error: any Error) {
        switch error {
        case let error as StorageError:
            self = error
        case let error as DatabaseError:
            self.init(sqlite: error.extendedResultCode.rawValue, text: error.message ?? "SQLite error")
        default:
            self = .failed("\(error)")
        }
    }
}
