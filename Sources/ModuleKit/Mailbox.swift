public import XMPPCore

/// One message that waits for its account.
public struct WaitingMessage: Sendable {
    /// Ascending in the order of arrival; never used again.
    public let id: Int64
    public let stamp: Timestamp
    public let stanza: Stanza

    public init(id: Int64, stamp: Timestamp, stanza: Stanza) {
        self.id = id
        self.stamp = stamp
        self.stanza = stanza
    }
}

/// The messages that wait for an account, for whoever wants to look at them one by one. All calls are made on the
/// account's loop, and answered there.
///
/// Messages that a session has in its queue are not among them: they are as good as delivered.
public protocol Mailbox: AnyObject {
    /// From now on, and until the session's connection ends, nothing of what waits is sent to this session unasked, and
    /// what arrives for it is sent as if nothing waited. Other sessions get what waits as ever.
    func browse(by session: any Session)

    func count(_ then: @escaping (Result<Int, StanzaError>) -> Void)

    /// Calls `body` with each of them, oldest first, until it says false; `then` at the end. They are read in pages, so
    /// `body` keeps what it needs.
    func forEach(_ body: @escaping (WaitingMessage) -> Bool, then: @escaping (Result<Void, StanzaError>) -> Void)

    /// Sends copies to a session, at the pace it takes them, as `dress` makes them; the messages stay. Nil: all.
    ///
    /// `item-not-found` if one of them does not exist: then nothing was sent. `resource-constraint` if this session has
    /// asked for too much already.
    func send(
        _ ids: [Int64]?, to session: any Session, dress: @escaping (WaitingMessage) -> Stanza,
        then: @escaping (Result<Void, StanzaError>) -> Void)

    /// Removes them, durably when it answers. Nil: all. `item-not-found` if one of them does not exist: then nothing
    /// was removed.
    func remove(_ ids: [Int64]?, then: @escaping (Result<Void, StanzaError>) -> Void)
}
