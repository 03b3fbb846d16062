internal import ModuleKit

/// RFC 6121 Appendix A as a function: what one subscription stanza does to one side's item, and what follows.
enum SubscriptionTable {
    struct Outcome: Equatable {
        var item: RosterItem
        var effect: SubscriptionEffect
        /// Clients see another item than before.
        var isVisible: Bool
    }

    /// - Parameter item: as it is, or a fresh hidden one.
    /// - Parameter stanza: the request itself, kept until it is answered.
    static func apply(
        _ type: Stanza.StanzaType, _ direction: SubscriptionDirection, to item: RosterItem, stanza: [UInt8]
    ) -> Outcome {
        var next = item
        let effect: SubscriptionEffect =
            switch direction {
            case .outbound: outbound(type, item, &next)
            case .inbound: inbound(type, item, &next, stanza)
            }
        let wasShown = !item.isHidden
        let isShown = !next.isHidden
        return Outcome(item: next, effect: effect, isVisible: isShown && (!wasShown || item.element != next.element))
    }

    /// §A.2: our client sends it. It is always passed on, so that the other side can put right what differs there.
    private static func outbound(
        _ type: Stanza.StanzaType, _ item: RosterItem, _ next: inout RosterItem
    ) -> SubscriptionEffect {
        let was = item.subscription
        switch type {
        case .subscribe:
            next.isHidden = false
            next.isAsking = !was.hasTo
            return .deliver
        case .unsubscribe:
            next.isAsking = false
            next.subscription = .init(to: false, from: was.hasFrom)
            return .deliver
        case .subscribed:
            guard item.request != nil else { return was.hasFrom ? .deliver : [] }
            next.isHidden = false
            next.request = nil
            next.subscription = .init(to: was.hasTo, from: true)
            return [.deliver, .sendPresence]
        case .unsubscribed:
            let hadRequest = item.request != nil
            next.request = nil
            next.subscription = .init(to: was.hasTo, from: false)
            guard was.hasFrom || hadRequest else { return [] }
            return was.hasFrom ? [.deliver, .sendUnavailable] : .deliver
        default:
            return []
        }
    }

    /// §A.3: it comes from the contact.
    private static func inbound(
        _ type: Stanza.StanzaType, _ item: RosterItem, _ next: inout RosterItem, _ stanza: [UInt8]
    ) -> SubscriptionEffect {
        let was = item.subscription
        switch type {
        case .subscribe:
            if was.hasFrom { return .answerSubscribed }
            let isNew = item.request == nil
            next.request = stanza
            return isNew ? .deliver : []
        case .unsubscribe:
            guard was.hasFrom || item.request != nil else { return [] }
            next.request = nil
            next.subscription = .init(to: was.hasTo, from: false)
            return was.hasFrom ? [.deliver, .sendUnavailable] : .deliver
        case .subscribed:
            guard item.isAsking, !was.hasTo else { return [] }
            next.isAsking = false
            next.subscription = .init(to: true, from: was.hasFrom)
            return .deliver
        case .unsubscribed:
            guard item.isAsking || was.hasTo else { return [] }
            next.isAsking = false
            next.subscription = .init(to: false, from: was.hasFrom)
            return .deliver
        default:
            return []
        }
    }
}
