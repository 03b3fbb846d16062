import Foundation
import ModuleKit
import XMPPStream

/// The file of random bytes that the fake salts of unknown users are made of: the same after every restart, so that
/// nobody finds out which names there are by asking twice.
struct SecretFile: Sendable {
    let path: String

    static let length = 32

    /// Nil: there is none.
    ///
    /// - Throws: `.unavailable` if it cannot be read or is no secret. One that is damaged is not replaced unasked: the
    ///   answers for unknown users would change, and nobody would hear of the damage.
    func read() throws(CommandError) -> [UInt8]? {
        var file = stat()
        if stat(path, &file) != 0, errno == ENOENT { return nil }
        let data: Data
        do {
            data = try BoundedFile.read(path, limit: 1 << 20)
        } catch {
            throw .unavailable("\(path) \(error.description)")
        }
        guard data.count == Self.length else {
            throw .unavailable(
                """
                \(path) has \(data.count) bytes and must have \(Self.length): put the one of a backup in its place, or \
                remove it, and `martlet setup --data` makes a new one
                """)
        }
        return Array(data)
    }

    /// The secret, made if there is none.
    func readOrMake() throws(CommandError) -> [UInt8] {
        if let secret = try read() { return secret }
        let secret = Crypto.random(Self.length)
        try replace(with: secret)
        return secret
    }

    /// Whole or not at all, and for its owner's eyes only.
    func replace(with secret: [UInt8]) throws(CommandError) {
        let temporary = path + ".new"
        unlink(temporary)
        try NewFiles.write([NewFiles.File(path: temporary, bytes: secret, mode: 0o600)])
        let descriptor = open(temporary, O_RDONLY | O_CLOEXEC)
        let isSynced = descriptor >= 0 && fsync(descriptor) == 0
        if descriptor >= 0 { close(descriptor) }
        guard isSynced, rename(temporary, path) == 0 else {
            let reason = systemError()
            unlink(temporary)
            throw .unavailable("\(path) cannot be written: \(reason)")
        }
    }
}
