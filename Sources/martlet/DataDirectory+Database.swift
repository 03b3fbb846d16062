import Foundation
import ModuleKit
import StorageSQL

/// The database of the directory and the secret beside it: whether they are there, and how they come to be.
extension DataDirectory {
    var secret: SecretFile { SecretFile(path: path + "/secret") }

    /// Only `martlet setup` and `martlet restore` make a database: an empty one in the place of a lost one, or in a
    /// directory that somebody has mistyped, would be taken for the real one.
    ///
    /// - Throws: what is missing, and what to do about it.
    func requireDatabase() throws(CommandError) {
        if Self.isMissing(path) {
            throw .unavailable(
                """
                the data directory \(path) does not exist: if that is the right place (`data` in the config), \
                `martlet setup --data` makes it, and `martlet restore` brings a backup back
                """)
        }
        guard Self.isMissing(databasePath) else { return }
        if hasLog {
            throw .unavailable(
                """
                \(databasePath) is missing, and its log \(databasePath)-wal is there: put the database back, or \
                restore a backup with `martlet restore DIRECTORY --force`, which keeps the log aside
                """)
        }
        let wasUsed = !Self.isMissing(secret.path) || !Self.isMissing(databasePath + ".lock")
        throw .unavailable(
            """
            \(databasePath) is missing\(wasUsed ? ", though a server has run here" : ""): restore a backup with \
            `martlet restore DIRECTORY`, or make an empty database with `martlet setup --data`
            """)
    }

    /// A log with something in it.
    var hasLog: Bool {
        var file = stat()
        return stat(databasePath + "-wal", &file) == 0 && file.st_size > 0
    }

    var hasDatabase: Bool { !Self.isMissing(databasePath) }

    /// Not there; what cannot be looked at may be.
    private static func isMissing(_ path: String) -> Bool {
        var file = stat()
        return stat(path, &file) != 0 && (errno == ENOENT || errno == ENOTDIR)
    }

    /// Makes what a server needs: the directory, an empty database and the secret. For `martlet setup` alone.
    ///
    /// - Throws: `.exists` if there is a database; nothing is changed then.
    func setUp() throws(CommandError) {
        try create()
        let lock = try lock()
        guard !hasDatabase else { throw .exists("\(databasePath) exists already; nothing was changed") }
        if hasLog { try requireDatabase() }
        _ = try secret.readOrMake()
        do {
            try SQLStorage.make(SQLOptions(path: databasePath))
        } catch {
            throw OfflineAccounts.explain(error)
        }
        giveToOwner()
        withExtendedLifetime(lock) {}
    }
}
