public import ModuleKit

/// A process of a cluster, by the number that its session and archive ids carry.
public struct NodeID: Hashable, Sendable {
    public let rawValue: UInt16

    public init(_ rawValue: UInt16) {
        self.rawValue = rawValue
    }
}

/// Where the state of a bare address lives.
public enum Location: Hashable, Sendable {
    /// On this loop of this process.
    case local(loop: Int)
    /// In another process.
    case remote(NodeID)
}

/// Knows which addresses live in other processes, and takes their stanzas there. Called on any loop, and must not wait.
/// What comes the other way enters through `Server.deliver`.
public protocol Courier: Sendable {
    /// Nil: the address lives here.
    func node(of address: BareJID) -> NodeID?
    /// The receipt is the courier's to hold until the stanza is safe over there. What cannot be taken it answers itself.
    func carry(_ envelope: Envelope, for address: BareJID, to node: NodeID)
}

/// Says where an address lives. One process alone has no courier, and the answer costs a division.
public final class Directory: Sendable {
    private let loops: UInt
    let courier: (any Courier)?

    init(loops: Int, courier: (any Courier)?) {
        self.loops = UInt(max(1, loops))
        self.courier = courier
    }

    @inline(__always)
    func lookup(_ address: BareJID) -> Location {
        if let courier, let node = courier.node(of: address) { return .remote(node) }
        return .local(loop: home(of: address))
    }

    /// The home loop of an address that lives here, by its hash: every state of the address lives there.
    @inline(__always)
    func home(of address: BareJID) -> Int { Int(truncatingIfNeeded: address.spread % loops) }
}

extension Server {
    /// A stanza from another process for an address that lives here.
    public func deliver(_ envelope: Envelope, for address: BareJID) {
        office.loops[office.directory.home(of: address)].post(.stanza(address, envelope))
    }
}
