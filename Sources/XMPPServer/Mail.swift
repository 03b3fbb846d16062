public import ModuleKit

/// What loops send one another.
public enum Mail: Sendable {
    /// To the account or the entity that this bare address names, at its home loop.
    case stanza(BareJID, Envelope)
    /// To one session, whatever its presence.
    case session(SessionRef, Envelope)
    case closed(Receipt.Name)
    /// Goes back to the session's loop, behind what was answered to the session's mail before it.
    case check(SessionRef)
    case checked(SessionRef)
    /// Bytes for the disk that this account has caused; negative: the disk has them.
    case charge(BareJID, Int)
    case work(@Sendable () -> Void)
}

/// Posts to the loops. Shared by all of them; immutable.
public final class PostOffice: ReceiptSink {
    public let loops: [any Loop]
    public let directory: Directory

    public init(loops: [any Loop], courier: (any Courier)? = nil) {
        self.loops = loops
        directory = Directory(loops: loops.count, courier: courier)
    }

    /// The home loop of a bare address of this process.
    @inline(__always)
    public func home(of address: BareJID) -> Int { directory.home(of: address) }

    public func closed(_ receipt: Receipt.Name) {
        loops[Int(receipt.session.loop)].post(.closed(receipt))
    }
}
