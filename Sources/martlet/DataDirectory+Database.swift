import Foundation
import ModuleKit
import StorageSQL

/// The database of the directory and the secret beside it: whether they are there, and how they come to be.
extension DataDirectory {
    var secret: SecretFile { SecretFile(path: path + "/secret") }
    /// The secret of a restore that is under way.
    var newSecret: SecretFile { SecretFile(path: secret.path + SQLRestoration.suffix) }

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
        guard !isRestoreOpen else {
            throw .unavailable(
                """
                \(databasePath) is missing: a restore did not end. Run it again: `martlet restore DIRECTORY`\
                \(hasLog ? " --force" : "")
                """)
        }
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

    /// A restore has left its copies; it was killed, or it is under way.
    private var isRestoreOpen: Bool {
        !Self.isMissing(databasePath + SQLRestoration.suffix) || !Self.isMissing(newSecret.path)
    }

    var hasDatabase: Bool { !Self.isMissing(databasePath) }

    /// - Throws: `.unavailable` if there is none, or it is none: a server that made another one unasked would answer
    ///   for unknown names differently, and nobody would hear that something was lost.
    func requireSecret() throws(CommandError) -> [UInt8] {
        guard let bytes = try secret.read() else {
            throw .unavailable(
                """
                \(secret.path) is missing: put the one of a backup in its place, or have `martlet setup --data` make a \
                new one; names that nobody has answer differently then
                """)
        }
        return bytes
    }

    /// Looks at everything that a server needs of the directory, as far as this process may read it, and changes
    /// nothing.
    ///
    /// - Throws: `.unavailable` with what is missing or damaged.
    func examine() throws(CommandError) {
        try requireDatabase()
        if Self.isMissing(secret.path) || Self.isReadable(secret.path) { _ = try requireSecret() }
        guard canBeRead else { return }
        do {
            try SQLStorage.examine(SQLOptions(path: databasePath))
        } catch {
            throw OfflineAccounts.explain(error)
        }
    }

    /// Whether this process may read the database: a reader of one in WAL makes files beside it.
    var canBeRead: Bool { Self.isReadable(databasePath) && access(path, W_OK) == 0 }

    private static func isReadable(_ path: String) -> Bool { geteuid() == 0 || access(path, R_OK) == 0 }

    /// Not there; what cannot be looked at may be.
    private static func isMissing(_ path: String) -> Bool {
        var file = stat()
        return stat(path, &file) != 0 && (errno == ENOENT || errno == ENOTDIR)
    }

    /// Makes what a server needs: the directory, an empty database and the secret; only the secret if there is a
    /// database without one. For `martlet setup` alone. Says what was made.
    ///
    /// - Throws: `.exists` if both are there; nothing is changed then.
    @discardableResult
    func setUp() throws(CommandError) -> String {
        try create()
        let lock = try lock()
        defer { withExtendedLifetime(lock) {} }
        guard !hasDatabase else {
            guard try secret.read() == nil else { throw .exists("\(databasePath) exists already; nothing was changed") }
            _ = try secret.readOrMake()
            try PartialDirectory.sync(path)
            giveToOwner()
            return "made a new secret in \(path)"
        }
        if hasLog || isRestoreOpen { try requireDatabase() }
        _ = try secret.readOrMake()
        do {
            try SQLStorage.make(SQLOptions(path: databasePath))
        } catch {
            throw OfflineAccounts.explain(error)
        }
        giveToOwner()
        return "made a new database in \(path)"
    }
}
