internal import ModuleKit

/// Which messages other devices get a copy of (XEP-0280 §6.1).
enum CopyRules {
    enum Direction: Hashable, Sendable {
        case sent
        case received
    }

    /// - Parameters:
    ///   - peer: whom a message is to or from.
    ///   - copied: what an error may be the answer to.
    static func isEligible(
        _ stanza: Stanza, _ direction: Direction, with peer: BareJID, _ copied: CopiedMessages
    ) -> Bool {
        let root = stanza.root
        guard stanza.notice == nil, stanza.type != .groupchat, !stanza.classification.forbidsCopies,
            // What is private, and what says that it is a copy: made by us it would be a notice.
            stanza.namespaces & Namespace.carbons.bit == 0 || !hasCarbons(root)
        else { return false }
        if stanza.type == .error { return stanza.id.map { copied.contains($0, with: peer) } ?? false }
        let isOfRoom = stanza.namespaces & Namespace.mucUser.bit != 0 && root.first("x", .mucUser) != nil
        if isOfRoom {
            let occupant = direction == .sent ? stanza.to : stanza.from
            // A room sends what is private to all devices that are in it; of what one of them sends it tells no other.
            if occupant?.isBare == false { return direction == .sent }
            if root.first("x", .mucUser)?.first("invite", .mucUser) != nil { return true }
        }
        switch stanza.type {
        case .chat: return true
        case .normal where stanza.classification.hasBody: return true
        default: return root.children.contains { isUsual($0) }
        }
    }

    private static func hasCarbons(_ root: ElementView) -> Bool {
        root.children.contains { child in
            child.namespace == .carbons && ["private", "received", "sent"].contains { child.isNamed($0) }
        }
    }

    /// Receipts, chat states, markers and direct invitations.
    private static func isUsual(_ payload: ElementView) -> Bool {
        switch payload.namespace {
        case .receipts, .chatStates, .chatMarkers: true
        case .conference: payload.isNamed("x")
        default: false
        }
    }
}
