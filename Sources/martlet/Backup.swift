import Foundation
import ModuleKit
import StorageSQL

/// A copy of what cannot be made again: the database as it is at one moment, and the secret.
struct Backup {
    let data: DataDirectory

    init(of data: DataDirectory) {
        self.data = data
    }

    /// Blocks while it copies. The directory must not exist, so that no copy is ever overwritten.
    func write(to directory: String) throws(CommandError) {
        guard directory.hasPrefix("/") else { throw .usage("the directory needs an absolute path") }
        guard mkdir(directory, 0o700) == 0 else {
            if errno == EEXIST { throw .exists("\(directory) exists already") }
            throw CommandError("\(directory) cannot be made: \(systemError())")
        }
        do {
            try SQLStorage.copy(data.path + "/martlet.db", to: directory + "/martlet.db")
            let secret = data.path + "/secret"
            if FileManager.default.fileExists(atPath: secret) {
                try FileManager.default.copyItem(atPath: secret, toPath: directory + "/secret")
            }
        } catch {
            throw CommandError("not copied: \(error)")
        }
    }
}
