import Foundation
import ModuleKit
import StorageSQL

/// A backup on its way into a data directory.
///
/// Everything is copied, checked and synced beside its place first. Then the old files are kept aside, in a directory
/// that is complete as soon as it has its name; they go, the secret gets its name, and the database gets its own last. So
/// a restore that is killed leaves the old database or none, which no command takes for an empty one, or the new one with
/// its secret.
struct Restoration {
    private let backup: String
    private let data: DataDirectory
    private let isForced: Bool
    private let now: Timestamp

    init(of backup: String, to data: DataDirectory, isForced: Bool, now: Timestamp) {
        (self.backup, self.data, self.isForced, self.now) = (backup, data, isForced, now)
    }

    /// Says what was done.
    func run() throws(CommandError) -> String {
        // A secret that is none is found out before anything is replaced.
        let secret = try checkedSecret()
        try data.create()
        let lock = try data.lock()
        defer { withExtendedLifetime(lock) {} }
        guard isForced || !data.hasDatabase && !data.hasLog else {
            throw .exists("\(data.databasePath) or its log exists: --force moves what is there aside")
        }
        let aside = try asidePath()
        do {
            let restoration = try SQLStorage.restoration(
                of: backup + "/martlet.db", to: SQLOptions(path: data.databasePath))
            try data.newSecret.replace(with: secret)
            // Before they have their names: a server that is not root's must be able to read them.
            data.giveToOwner()
            let replaced = restoration.replaced
            if !replaced.isEmpty { try keep(replaced, in: aside) }
            let before = replaced.isEmpty ? "" : "; the one before is in \(aside)"
            do {
                try restoration.removeReplaced()
                try take(restoration)
            } catch {
                throw CommandError("\(Self.explain(error))\(before)")
            }
            data.giveToOwner()
            return "the database was restored from \(backup)\(before)"
        } catch let error as StorageError {
            unlink(data.newSecret.path)
            throw OfflineAccounts.explain(error)
        } catch {
            unlink(data.newSecret.path)
            throw error as? CommandError ?? CommandError("\(error)")
        }
    }

    /// Gives the new files their names, the database last.
    private func take(_ restoration: SQLRestoration) throws {
        guard rename(data.newSecret.path, data.secret.path) == 0 else {
            throw CommandError("\(data.secret.path) cannot be written: \(systemError())")
        }
        try PartialDirectory.sync(data.path)
        try restoration.finish()
    }

    private static func explain(_ error: any Error) -> String {
        (error as? StorageError).map { OfflineAccounts.explain($0).description } ?? "\(error)"
    }

    /// - Throws: what is wrong with the backup, as far as its files tell.
    private func checkedSecret() throws(CommandError) -> [UInt8] {
        guard !PartialDirectory.isPartial(backup) else {
            throw CommandError(
                "\(backup) is no backup: one that did not end has left it, and the next one beside it removes it")
        }
        let database = backup + "/martlet.db"
        guard access(database, F_OK) == 0 else { throw .notFound("\(database) cannot be found: \(systemError())") }
        guard access(database + "-journal", F_OK) != 0 else {
            throw CommandError("\(backup) is no backup: \(database)-journal says that copying it did not end")
        }
        let file = SecretFile(path: backup + "/secret")
        guard let secret = try file.read() else {
            throw .notFound(
                """
                \(file.path) is missing, so that the backup is not whole: put the secret of the server or of another \
                backup there (`head -c 32 /dev/urandom` makes a new one)
                """)
        }
        return secret
    }

    /// A name of a directory that sorts by time. Unfinished directories of killed restores are removed: the old files
    /// are still in their places then.
    private func asidePath() throws(CommandError) -> String {
        let stamp = now.description.replacingOccurrences(of: ":", with: "")
        let path = "\(data.path)/replaced-\(stamp)"
        _ = PartialDirectory.clear(beside: path)
        let names = [path] + (2...100).map { "\(path)-\($0)" }
        guard let free = names.first(where: { access($0, F_OK) != 0 }) else {
            throw .exists("\(path) exists already, and others like it")
        }
        return free
    }

    /// The old files under further names, so that they are complete there before the first one goes.
    private func keep(_ files: [String], in aside: String) throws(CommandError) {
        let directory = try PartialDirectory.make(aside)
        let secret = data.secret.path
        // The index of a log is made anew.
        let kept = files.filter { !$0.hasSuffix("-shm") } + (access(secret, F_OK) == 0 ? [secret] : [])
        for path in kept {
            let name = (path as NSString).lastPathComponent
            guard link(path, "\(directory.path)/\(name)") == 0 else {
                throw CommandError("\(path) cannot be kept aside: \(systemError())")
            }
        }
        try directory.finish()
    }
}
