import ArgumentParser
import Foundation
import ModuleKit
import StorageSQL

struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put a backup into the data directory.",
        discussion: """
            Only while no server runs. The backup is read from end to end before anything is replaced; it stays as it is. \
            A database that is there already is kept: without --force nothing is done, with it the old one is moved into \
            a directory of its own beside the new one.
            """)
    @Argument(
        help: ArgumentHelp("What `martlet backup` has made.", valueName: "directory"),
        completion: .directory)
    var directory: String
    @Flag(help: "Also where there is a database; it is moved aside.") var force = false
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let backup = URL(fileURLWithPath: directory).standardizedFileURL.path
        let work = Restoration(
            of: backup, to: try config.dataDirectory(), isForced: force, now: LineLogHandler.wallClock())
        Terminal.show(.done(try work.run()))
    }
}

/// A backup on its way into a data directory.
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
        let source = (database: backup + "/martlet.db", secret: SecretFile(path: backup + "/secret"))
        guard access(source.database, F_OK) == 0 else {
            throw .notFound("\(source.database) cannot be found: \(systemError())")
        }
        // A secret that is none is found out before anything is replaced.
        let secret = try source.secret.read()
        try data.create()
        let lock = try data.lock()
        guard isForced || !data.hasDatabase && !data.hasLog else {
            throw .exists("\(data.databasePath) or its log exists: --force moves what is there aside")
        }
        let aside = "\(data.path)/replaced-\(stamp)"
        let hasOld: Bool
        do {
            hasOld = try SQLStorage.restore(source.database, to: SQLOptions(path: data.databasePath), aside: aside)
        } catch {
            throw OfflineAccounts.explain(error)
        }
        if let secret, (try? data.secret.read()) != secret { try data.secret.replace(with: secret) }
        data.giveToOwner()
        withExtendedLifetime(lock) {}
        return "the database was restored from \(backup)" + (hasOld ? "; the one before is in \(aside)" : "")
    }

    /// For a name of a directory that sorts by time.
    private var stamp: String { now.description.replacingOccurrences(of: ":", with: "") }
}
