/// Clients say whether they are there, and contacts hear it. Provided by the module for presence: without it no session
/// ever takes what is sent to its account.
public protocol PresenceService: Sendable {
    /// Other rules hold for this session from now on (XEP-0016 §2.9, §2.10; XEP-0191 §3.3, §3.4). Who may not see it any
    /// more is told that it has gone, who may see it again gets its presence; its client is told the same of others.
    ///
    /// - Parameters:
    ///   - old: nil: everything passed.
    ///   - new: in force already.
    func rulesChanged(for session: any Session, from old: Rules?, to new: Rules?)
}

/// Messages for an account go to its sessions. Provided by the module for messages.
public protocol MessageService: Sendable {
    /// Where a message goes that arrives for the account and was admitted, as things are now (RFC 6121 §8.5).
    func destination(of message: Stanza, for account: any Account) -> MessageDestination
}

/// Where a message goes.
public enum MessageDestination {
    case session(any Session)
    /// To each of them.
    case sessions([any Session])
    /// To nobody now: it waits for whom `Account.serves`, vanishes, or goes back, by what becomes of such messages.
    case away
    /// It is dropped, and nobody is told.
    case nowhere
}

/// Messages that no session takes are kept. Provided by the module that sets the policy (`HostBuilder.spool`).
public protocol KeepingService: Sendable {}
