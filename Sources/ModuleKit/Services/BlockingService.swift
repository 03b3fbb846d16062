public import XMPPCore

/// Users block addresses (XEP-0191). Provided by `blocking`; one per loop, used there.
public final class BlockingService {
    /// What an item of a block request says of the address besides: asked before the block is made, and gives rows that
    /// are written together with it.
    public var read: ((_ item: ElementView, _ address: JID, _ account: any Account) -> BlockNote?)?

    public init() {}
}

/// What somebody makes of a block request.
public struct BlockNote {
    public let rows: [Mutation]
    /// The rows are on disk. Not called if the block was not made.
    public let kept: () -> Void

    public init(rows: [Mutation], kept: @escaping () -> Void) {
        self.rows = rows
        self.kept = kept
    }
}
