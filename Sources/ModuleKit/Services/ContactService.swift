/// Who may see whose presence, for everything that depends on it: requests that only contacts may make, presence,
/// later pubsub. Provided by `roster`. All calls are made on the account's loop, with the account resident.
public protocol ContactService: Sendable {
    /// True when this contact is subscribed to the account's presence (RFC 6121 §3: `from` or `both`).
    func isSubscriber(_ contact: BareJID, to account: any Account) -> Bool
    /// True when the account is subscribed to the contact's presence (`to` or `both`).
    func isSubscribed(_ account: any Account, to contact: BareJID) -> Bool
    func forEachSubscriber(of account: any Account, _ body: (BareJID) -> Void)
    func forEachSubscription(of account: any Account, _ body: (BareJID) -> Void)
    /// Applies one subscription stanza to the account's roster and says what follows (RFC 6121 Appendix A). Durable
    /// before `then` is called, on the account's loop.
    func apply(
        _ type: Stanza.StanzaType, _ direction: SubscriptionDirection, with contact: BareJID, stanza: Stanza,
        on account: any Account, then: @escaping (Result<SubscriptionEffect, StanzaError>) -> Void)
    /// Subscription requests that still wait for an answer, with the stanza as it came (XML; empty if it was too
    /// large): shown to each session that becomes available.
    func forEachPendingRequest(of account: any Account, _ body: (BareJID, [UInt8]) -> Void)
}

public enum SubscriptionDirection: Hashable, Sendable {
    /// The account's own client sends it.
    case outbound
    /// It comes from the contact.
    case inbound
}

/// What a subscription stanza led to, beyond the roster itself.
public struct SubscriptionEffect: OptionSet, Sendable {
    public let rawValue: Int

    public init(rawValue: Int) {
        self.rawValue = rawValue
    }

    /// Outbound: send it on to the contact. Inbound: show it to the account's clients.
    public static let deliver = SubscriptionEffect(rawValue: 1)
    /// The contact may see us from now on: send our presence.
    public static let sendPresence = SubscriptionEffect(rawValue: 2)
    /// The contact may not see us any more: send unavailable.
    public static let sendUnavailable = SubscriptionEffect(rawValue: 4)
    /// Answer for the account: it is subscribed already.
    public static let answerSubscribed = SubscriptionEffect(rawValue: 8)
    /// Answer for the account: it is unsubscribed already.
    public static let answerUnsubscribed = SubscriptionEffect(rawValue: 16)
}
