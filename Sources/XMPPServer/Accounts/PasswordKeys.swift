public import XMPPStream

/// The keys of a password, as they are kept: one set for each hash that a client may ask for.
public enum PasswordKeys {
    /// Slow on purpose: not for an event loop.
    ///
    /// - Returns: nil if the password may not be one (RFC 4013: control characters and the like).
    public static func derive(_ password: String, iterations: Int) -> [ScramCredential]? {
        guard let prepared = PreparedPassword(password) else { return nil }
        return [HashFunction.sha256, .sha1].map {
            ScramCredential(deriving: $0, from: prepared, iterations: iterations)
        }
    }

    /// As `AccountRecord.credentials` holds it.
    public static func encode(_ credential: ScramCredential) -> [UInt8] { Array(credential.text.utf8) }
}
