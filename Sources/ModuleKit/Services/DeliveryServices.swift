/// Clients say whether they are there, and contacts hear it. Provided by the module for presence: without it no session
/// ever takes what is sent to its account.
public protocol PresenceService: Sendable {}

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
