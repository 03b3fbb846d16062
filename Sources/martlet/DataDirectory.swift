import Foundation
import ModuleKit

/// The directory with everything that the server keeps, and the two files in it that say who uses it: the lock, and
/// the socket of the running server.
struct DataDirectory: Sendable {
    let path: String

    var lockPath: String { path + "/martlet.lock" }
    var socketPath: String { path + "/martlet.sock" }
    var databasePath: String { path + "/martlet.db" }

    /// Makes the directory, readable by its owner only, if it is not there.
    func create() throws(CommandError) {
        guard !FileManager.default.fileExists(atPath: path) else { return }
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .unavailable("the data directory \(path) cannot be made: \(systemError())")
        }
    }

    /// Takes the directory for this process until the lock is let go (or the process ends, however it ends), and with it
    /// the database: that one may have another name in another directory, by a hard link or a mount, and yet stands only
    /// one writer. To be let go after the database was closed: SQLite's own locks go with any descriptor of its file.
    ///
    /// - Throws: `CommandError` if another process has either.
    func lock() throws(CommandError) -> DataLock {
        let lock = DataLock(
            try Self.lock(lockPath, O_RDWR | O_CREAT | O_NOFOLLOW, or: "another process is using \(path)"))
        giveToOwner()
        guard access(databasePath, F_OK) == 0 else { return lock }
        let reason = "another process is using \(databasePath), perhaps by another name"
        return DataLock(try Self.lock(databasePath, O_RDONLY | O_NONBLOCK, or: reason), after: lock)
    }

    /// - Throws: `CommandError` with `reason` if it is locked.
    private static func lock(_ path: String, _ mode: Int32, or reason: String) throws(CommandError) -> Int32 {
        let descriptor = open(path, mode | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .unavailable("\(path) cannot be opened: \(systemError())") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let reason = errno == EWOULDBLOCK ? reason : "\(path) cannot be locked: \(systemError())"
            close(descriptor)
            throw .unavailable(reason)
        }
        return descriptor
    }

    /// What is in the directory, but for what only a running server makes.
    private static let files = [
        "martlet.lock", "martlet.db", "martlet.db-wal", "martlet.db-shm", "martlet.db.lock", "martlet.db.restored",
        "secret", "secret.restored",
    ]

    /// Gives what root has made here to the directory's owner: the server runs as that one, and could not start when
    /// root was the first to add an account. Nothing if this process is not root's.
    func giveToOwner() {
        var directory = stat()
        guard geteuid() == 0, stat(path, &directory) == 0, directory.st_uid != 0 else { return }
        for name in Self.files { Self.give("\(path)/\(name)", to: directory) }
    }

    private static func give(_ path: String, to directory: stat) {
        // For its path only: closing any other descriptor would take SQLite's locks away (O_PATH, AT_EMPTY_PATH).
        let descriptor = open(path, 0o10_000_000 | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var file = stat()
        // The owner could have put the name of somebody's file here: only what has no other name is given away.
        guard fstat(descriptor, &file) == 0, file.st_mode & S_IFMT == S_IFREG, file.st_nlink == 1, file.st_uid == 0
        else {
            return
        }
        _ = fchownat(descriptor, "", directory.st_uid, directory.st_gid, 0x1000)
    }

    /// The path to bind or connect the socket by. A socket's name has room for 107 bytes only; a longer path goes by
    /// the way of a descriptor of the directory, which `keeping` must outlive.
    func socketAddress() throws(CommandError) -> SocketAddressPath {
        guard socketPath.utf8.count > 100 else { return SocketAddressPath(path: socketPath, descriptor: -1) }
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unavailable("\(path) cannot be opened: \(systemError())") }
        return SocketAddressPath(path: "/proc/self/fd/\(descriptor)/martlet.sock", descriptor: descriptor)
    }
}

/// Holds what is locked; gone with this object.
final class DataLock: Sendable {
    private let descriptor: Int32
    private let before: DataLock?

    fileprivate init(_ descriptor: Int32, after before: DataLock? = nil) {
        self.descriptor = descriptor
        self.before = before
    }

    deinit { close(descriptor) }
}

/// A name of the control socket, good for as long as this object lives.
final class SocketAddressPath: Sendable {
    let path: String
    private let descriptor: Int32

    fileprivate init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}
