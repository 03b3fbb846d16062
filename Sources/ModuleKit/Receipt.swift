public import XMPPCore

/// Names a session from anywhere: on which loop it lives, and which one it is there. Stays valid as a name when the
/// session is gone; whoever uses it then reaches nobody.
public struct SessionRef: Hashable, Sendable {
    public let loop: Int32
    /// Never used again while the process runs.
    public let id: UInt64

    public init(loop: Int32, id: UInt64) {
        self.loop = loop
        self.id = id
    }
}

/// Hears of closed receipts, from any thread.
public protocol ReceiptSink: AnyObject, Sendable {
    func closed(_ receipt: Receipt.Name)
}

/// What the server owes the sender of a stanza that has to be kept: to keep it or to have it delivered. It is held by the
/// spool until the row is on disk, by a session until its client acknowledged the stanza or, without stream management,
/// until the kernel took its bytes; a session hands it to the spool after a short while. When the last holder lets go the
/// receipt is closed, and the sender's session may count the stanza as handled (XEP-0198 §4; the durable `h`).
/// So it depends on the disk or on a bounded time, never on the good will of a peer.
///
/// Letting go is therefore a statement: only who has kept, delivered, answered or may drop the stanza lets go.
public final class Receipt: Sendable {
    public struct Name: Hashable, Sendable {
        public enum Kind: UInt8, Sendable {
            /// A stanza that the session received.
            case received
            /// A stanza that the session's transport handed to the kernel.
            case taken
        }

        public let session: SessionRef
        /// Never used again by the session.
        public let sequence: UInt64
        public let kind: Kind
    }

    public let name: Name
    private let sink: any ReceiptSink

    public init(_ kind: Name.Kind, of session: SessionRef, sequence: UInt64, to sink: any ReceiptSink) {
        name = Name(session: session, sequence: sequence, kind: kind)
        self.sink = sink
    }

    deinit {
        sink.closed(name)
    }
}

/// A stanza on its way, with what its sender is owed.
public struct Envelope: Sendable {
    public var stanza: Stanza
    /// Nil when nobody waits: the sender has no stream management, or the stanza needs no keeping.
    public var receipt: Receipt?
    /// What the sender wants written together with what the stanza changes at its addressee; mostly nothing.
    public var shared: SharedChange?

    public init(_ stanza: Stanza, receipt: Receipt? = nil, shared: SharedChange? = nil) {
        self.stanza = stanza
        self.receipt = receipt
        self.shared = shared
    }
}
