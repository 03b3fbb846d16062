internal import ModuleKit

/// What an inactive client need not have now.
enum Urgency {
    static func patience(for stanza: Stanza) -> HoldingPolicy.Patience {
        switch stanza.kind {
        case .iq: .none
        case .presence: patience(forPresence: stanza)
        case .message: patience(forMessage: stanza)
        }
    }

    /// Where somebody is now, once. Requests, errors and what a room says of the client itself are news.
    private static func patience(forPresence stanza: Stanza) -> HoldingPolicy.Patience {
        guard stanza.type == .available || stanza.type == .unavailable else { return .none }
        return isOfClient(stanza) ? .none : .forLastOnly
    }

    /// XEP-0045 §7.2.2: status 110. A client that joins a room waits for it.
    private static func isOfClient(_ stanza: Stanza) -> Bool {
        guard stanza.namespaces & Namespace.mucUser.bit != 0, let x = stanza.root.first("x", .mucUser) else {
            return false
        }
        return x.children.contains { $0.isNamed("status", .mucUser) && $0.attribute("code", is: "110") }
    }

    private static func patience(forMessage stanza: Stanza) -> HoldingPolicy.Patience {
        let classification = stanza.classification
        // The subject ends what a room sends to who joins it.
        if stanza.type == .error || classification.isUrgent || hasSubject(stanza) { return .none }
        return classification.isChatStateOnly ? .forLastOnly : .some
    }

    private static func hasSubject(_ stanza: Stanza) -> Bool {
        stanza.notice == nil && stanza.root.namespace.map { stanza.root.first("subject", $0) != nil } ?? false
    }
}
