import Foundation
import ModuleKit
import StorageSQL

/// A copy of what cannot be made again: the database as it is at one moment, and the secret.
struct Backup {
    let data: DataDirectory

    init(of data: DataDirectory) {
        self.data = data
    }

    /// Blocks while it copies, whether a server runs or not. The directory must not exist, so that no copy is ever
    /// overwritten; it is gone again if nothing whole could be put into it.
    func write(to directory: String) throws(CommandError) {
        guard directory.hasPrefix("/") else { throw .usage("the directory needs an absolute path") }
        guard mkdir(directory, 0o700) == 0 else {
            if errno == EEXIST { throw .exists("\(directory) exists already") }
            throw CommandError("\(directory) cannot be made: \(systemError())")
        }
        let copies = (database: directory + "/martlet.db", secret: directory + "/secret")
        do throws(StorageError) {
            try SQLStorage.copy(data.path + "/martlet.db", to: copies.database)
        } catch {
            rmdir(directory)
            throw OfflineAccounts.explain(error)
        }
        do {
            let secret = data.path + "/secret"
            if FileManager.default.fileExists(atPath: secret) {
                try FileManager.default.copyItem(atPath: secret, toPath: copies.secret)
            }
        } catch {
            for path in [copies.database, copies.secret] { unlink(path) }
            rmdir(directory)
            throw CommandError("the secret was not copied: \(systemError())")
        }
    }
}
