/// Clients say whether they are there, and contacts hear it. Provided by the module for presence: without it no session
/// ever takes what is sent to its account.
public protocol PresenceService: Sendable {}

/// Messages for an account go to its sessions. Provided by the module for messages.
public protocol MessageService: Sendable {}

/// Messages that no session takes are kept. Provided by the module that sets the policy (`HostBuilder.spool`).
public protocol KeepingService: Sendable {}
