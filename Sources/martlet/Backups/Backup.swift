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
    /// overwritten; it gets its name when everything in it is copied, checked and synced.
    ///
    /// - Returns: The directories of killed backups that were beside it and are removed now.
    func write(to directory: String) throws(CommandError) -> [String] {
        guard directory.hasPrefix("/") else { throw .usage("the directory needs an absolute path") }
        guard !PartialDirectory.isPartial(directory) else {
            throw .usage("\(PartialDirectory.suffix) is for backups that are not finished; take another name")
        }
        let left = PartialDirectory.clear(beside: directory)
        let copy = try PartialDirectory.make(directory)
        do {
            try SQLStorage.copy(data.databasePath, to: copy.path + "/martlet.db")
        } catch {
            throw OfflineAccounts.explain(error)
        }
        try SecretFile(path: copy.path + "/secret").replace(with: try data.requireSecret())
        try copy.finish()
        return left
    }
}
