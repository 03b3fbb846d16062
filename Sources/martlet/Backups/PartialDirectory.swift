import Foundation
import ModuleKit

/// A directory that gets its name when it is complete and synced, so that one of that name always is. Until then it is
/// `NAME.martlet-partial` beside it, locked by the process that fills it.
///
/// A killed process leaves its directory under that name, and nobody holds the lock any more; the next process that
/// works in the same place removes it. Only the files of a data directory are removed: one with anything else stays.
final class PartialDirectory {
    static let suffix = ".martlet-partial"
    /// The files that may be in one.
    private static let files = [
        "martlet.db", "martlet.db-wal", "martlet.db-shm", "martlet.db-journal", "secret", "secret.new",
    ]

    private let name: String
    private let descriptor: Int32
    /// The place of the files until the end.
    let path: String

    private init(_ name: String, _ path: String, _ descriptor: Int32) {
        (self.name, self.path, self.descriptor) = (name, path, descriptor)
    }

    /// - Parameter name: an absolute path. Call `clear(beside:)` first, which removes the rest of an earlier attempt.
    /// - Throws: `.exists` if there is something of this name, or somebody is making it.
    static func make(_ name: String) throws(CommandError) -> PartialDirectory {
        guard !isThere(name) else { throw .exists("\(name) exists already") }
        let path = name + suffix
        guard mkdir(path, 0o700) == 0 else {
            if errno == EEXIST {
                throw .exists("\(path) is there: somebody is making it, or a rest of it has to go first")
            }
            throw CommandError("\(name) cannot be made: \(systemError())")
        }
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else {
            let reason = systemError()
            rmdir(path)
            throw CommandError("\(path) cannot be opened: \(reason)")
        }
        // Some network file systems lock no directories: nothing is cleared there, and all else works.
        _ = flock(descriptor, LOCK_EX | LOCK_NB)
        return PartialDirectory(name, path, descriptor)
    }

    /// Its files must be synced already.
    func finish() throws(CommandError) {
        let parent = (name as NSString).deletingLastPathComponent
        // This fails if the name was taken meanwhile, unless by an empty directory, of which nothing is lost.
        guard Self.sync(descriptor), rename(path, name) == 0 else {
            throw CommandError("\(path) cannot be finished: \(systemError())")
        }
        do throws(CommandError) {
            try Self.sync(parent)
        } catch {
            Self.remove(name)
            throw error
        }
    }

    deinit {
        // Nothing, if it was finished.
        Self.remove(path)
        close(descriptor)
    }

    // MARK: Leftovers

    /// Whether the name is that of a directory which was not finished.
    static func isPartial(_ path: String) -> Bool { path.hasSuffix(suffix) }

    /// Removes the directories that killed processes have left beside `name`. Gives their paths.
    static func clear(beside name: String) -> [String] {
        let parent = (name as NSString).deletingLastPathComponent
        let names = (try? FileManager.default.contentsOfDirectory(atPath: parent)) ?? []
        return names.filter(isPartial).sorted().compactMap { entry in
            let path = (parent as NSString).appendingPathComponent(entry)
            guard let descriptor = lock(path) else { return nil }
            defer { close(descriptor) }
            return remove(path) ? path : nil
        }
    }

    /// False: something else is in it.
    @discardableResult
    private static func remove(_ path: String) -> Bool {
        for file in files { unlink("\(path)/\(file)") }
        return rmdir(path) == 0
    }

    /// Nil: it is no directory, or another process has it.
    private static func lock(_ path: String) -> Int32? {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    private static func isThere(_ path: String) -> Bool {
        var file = stat()
        return lstat(path, &file) == 0
    }

    /// Some file systems have nothing to sync of a directory, and say so.
    private static func sync(_ directory: Int32) -> Bool { fsync(directory) == 0 || errno == EINVAL }

    /// Has the disk know what is in a directory.
    static func sync(_ path: String) throws(CommandError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .unavailable("\(path) cannot be opened: \(systemError())") }
        defer { close(descriptor) }
        guard sync(descriptor) else { throw .unavailable("\(path) cannot be synced: \(systemError())") }
    }
}
