public import ModuleKit

/// What loops send one another.
public enum Mail: Sendable {
    /// To the account or the entity that this bare address names, at its home loop.
    case stanza(BareJID, Envelope)
    /// To one session, whatever its presence.
    case session(SessionRef, Envelope)
    case closed(Receipt.Name)
    case work(@Sendable () -> Void)
}

/// Finds the loop of an address and posts there. Shared by all loops; immutable.
public final class PostOffice: ReceiptSink {
    public let loops: [any Loop]

    public init(loops: [any Loop]) {
        self.loops = loops
    }

    /// The home loop of a bare address, by its hash: every state of the address lives there.
    @inline(__always)
    public func home(of address: BareJID) -> Int {
        Int(truncatingIfNeeded: address.spread % UInt(loops.count))
    }

    public func closed(_ receipt: Receipt.Name) {
        loops[Int(receipt.session.loop)].post(.closed(receipt))
    }
}
