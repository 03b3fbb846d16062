/// Who may see whose presence, for everything that depends on it: requests that only contacts may make, presence,
/// later pubsub. Provided by `roster`. All calls are made on the account's loop, with the account resident.
public protocol ContactService: Sendable {
    /// True when this contact is subscribed to the account's presence (RFC 6121 §3: `from` or `both`).
    func isSubscriber(_ contact: BareJID, to account: any Account) -> Bool
    /// True when the account is subscribed to the contact's presence (`to` or `both`).
    func isSubscribed(_ account: any Account, to contact: BareJID) -> Bool
    /// True when the contact is in the roster, whatever the subscription.
    func isContact(_ contact: BareJID, of account: any Account) -> Bool
    func forEachSubscriber(of account: any Account, _ body: (BareJID) -> Void)
    func forEachSubscription(of account: any Account, _ body: (BareJID) -> Void)
    /// The first so many contacts whose presence the account sees, in the order of their addresses, behind this one;
    /// nil: from the beginning. So they can be gone through in portions while they change.
    func subscriptions(of account: any Account, after contact: BareJID?, most: Int) -> [BareJID]
    /// Contacts whose presence the account has asked for and who have not answered.
    func forEachRequested(by account: any Account, _ body: (BareJID) -> Void)
    /// The groups of the roster that the contact is in (RFC 6121 §2.1.2.2).
    func groups(of contact: BareJID, for account: any Account) -> [String]
    /// True when some contact is in this group.
    func hasGroup(_ name: String, on account: any Account) -> Bool
    /// True when this session asked for the roster (RFC 6121 §2.2: an interested resource).
    func isInterested(_ session: any Session) -> Bool

    /// Applies one subscription stanza to the account's roster (RFC 6121 Appendix A), behind what is under way with this
    /// contact. `handler` is asked what to do at two moments, on the account's loop.
    ///
    /// - Parameter envelope: the stanza between the bare addresses; inbound, what came with it.
    func apply(
        _ envelope: Envelope, _ direction: SubscriptionDirection, with contact: BareJID, on account: any Account,
        _ handler: SubscriptionHandler)
    /// Subscription requests that still wait for an answer, as they came: shown to each session that becomes available
    /// (RFC 6121 §3.1.3). In portions, as `subscriptions`.
    func pendingRequests(of account: any Account, after contact: BareJID?, most: Int) -> [(from: BareJID, Stanza)]
}

public enum SubscriptionDirection: Hashable, Sendable {
    /// The account's own client sends it.
    case outbound
    /// It comes from the contact.
    case inbound
}

/// What is said to whom when a subscription stanza changes a roster.
public struct SubscriptionHandler {
    /// Outbound, before anything is written: sends the stanza on to the contact, with the change that is to be written
    /// with the contact's own.
    public var send: (SubscriptionEffect, SharedChange?) -> Void
    /// The change is on disk, and no client has been told of it yet; or it cannot be made.
    public var ended: (Result<SubscriptionEffect, StanzaError>) -> Void

    public init(
        send: @escaping (SubscriptionEffect, SharedChange?) -> Void,
        ended: @escaping (Result<SubscriptionEffect, StanzaError>) -> Void
    ) {
        self.send = send
        self.ended = ended
    }
}

/// What a subscription stanza leads to, beyond the roster itself.
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
    /// Answer for the account: the contact may see it already.
    public static let answerSubscribed = SubscriptionEffect(rawValue: 8)
    /// Say for the user that the contact may see it, as the user said before it was asked for.
    public static let approve = SubscriptionEffect(rawValue: 16)
}
