public import XMPPCore

/// Decides which stanzas for a client may wait, and how many; see `Session.holdBack`.
public struct HoldingPolicy {
    public enum Patience: Hashable, Sendable {
        /// It goes now, behind all that waits.
        case none
        /// It waits.
        case some
        /// It waits in the place of an older one from the same address: of its type if it is a message, of any type
        /// that may wait if it is presence.
        case forLastOnly
    }

    /// Most stanzas that wait. Behind the one that makes it full all of them go.
    public var stanzas: Int
    /// Most bytes of them, in the same way.
    public var bytes: Int
    /// Asked for each stanza as the client would get it, but not for what somebody is owed the keeping of: that goes.
    public var patience: (Stanza) -> Patience

    public init(stanzas: Int, bytes: Int, patience: @escaping (Stanza) -> Patience) {
        self.stanzas = stanzas
        self.bytes = bytes
        self.patience = patience
    }
}
