public import XMPPCore

/// Makes, changes and removes accounts, as the operator's commands do. Provided by the kernel. Keys are derived on a
/// pool of threads, never on a loop. Completions come once, on any thread; success means durable.
public protocol AccountService: Sendable {
    /// - Parameter peer: who asks, for the log; nil: the operator.
    func create(
        _ address: BareJID, password: String, for peer: PeerInfo?,
        then: @escaping @Sendable (Result<Void, AccountError>) -> Void)

    /// Ends the account's sessions but `keeping`.
    func setPassword(
        _ password: String, of address: BareJID, keeping: SessionRef?,
        then: @escaping @Sendable (Result<Void, AccountError>) -> Void)

    /// Removes it with all that is kept for it. Its sessions end, behind what `then` sends to them.
    func remove(_ address: BareJID, then: @escaping @Sendable (Result<Void, AccountError>) -> Void)
}

/// Why an account was not made, changed or removed.
public enum AccountError: Error, Hashable, Sendable {
    /// The name is taken.
    case exists
    /// There is no such account.
    case notFound
    /// The address is of no host of this server.
    case noSuchHost
    /// The password has characters that no client can send, or is too long (RFC 4013).
    case passwordNotAllowed
    /// Too much is to be done already.
    case busy
    case storage(StorageError)
}
