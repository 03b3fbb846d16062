public import XMPPStream

/// The keys of a password, as they are kept: one set for each hash that a client may ask for.
public enum PasswordKeys {
    /// Slow on purpose: not for an event loop.
    ///
    /// - Returns: nil if the password may not be one (RFC 4013: control characters and the like).
    public static func derive(_ password: String, _ auth: AuthConfig) -> [ScramCredential]? {
        guard let prepared = PreparedPassword(password) else { return nil }
        return auth.hashes.map { ScramCredential(deriving: $0, from: prepared, iterations: auth.iterations) }
    }
}
