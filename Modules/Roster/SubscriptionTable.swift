internal import ModuleKit

/// RFC 6121 Appendix A as a function: what one subscription stanza does to one side's item, and what follows.
enum SubscriptionTable {
    struct Outcome: Equatable {
        var item: RosterItem
        var effect: SubscriptionEffect
    }

    /// - Parameter item: as it is, or a fresh hidden one.
    /// - Parameter stanza: the request itself, kept until it is answered.
    static func apply(
        _ type: Stanza.StanzaType, _ direction: SubscriptionDirection, to item: RosterItem,
        stanza: @autoclosure () -> [UInt8]
    ) -> Outcome {
        var next = item
        let effect: SubscriptionEffect =
            switch direction {
            case .outbound: outbound(type, item, &next)
            case .inbound: inbound(type, item, &next, stanza)
            }
        return Outcome(item: next, effect: effect)
    }

    /// §A.2: our client sends it.
    private static func outbound(
        _ type: Stanza.StanzaType, _ item: RosterItem, _ next: inout RosterItem
    ) -> SubscriptionEffect {
        let was = item.subscription
        switch type {
        case .subscribe:
            // Passed on in every state, so that the other side can put right what differs there.
            next.isHidden = false
            next.isAsking = !was.hasTo
            return .deliver
        case .unsubscribe:
            next.isAsking = false
            next.subscription = .init(to: false, from: was.hasFrom)
            return .deliver
        case .subscribed:
            if item.request != nil {
                next.isHidden = false
                next.request = nil
                next.subscription = .init(to: was.hasTo, from: true)
                return [.deliver, .sendPresence]
            }
            // §3.4.2: before the contact has asked; nothing is sent.
            if !was.hasFrom {
                next.isHidden = false
                next.isApproved = true
            }
            return []
        case .unsubscribed:
            next.isApproved = false
            next.request = nil
            next.subscription = .init(to: was.hasTo, from: false)
            if was.hasFrom { return [.deliver, .sendUnavailable] }
            return item.request == nil ? [] : .deliver
        default:
            return []
        }
    }

    /// §A.3: it comes from the contact.
    private static func inbound(
        _ type: Stanza.StanzaType, _ item: RosterItem, _ next: inout RosterItem, _ stanza: () -> [UInt8]
    ) -> SubscriptionEffect {
        let was = item.subscription
        switch type {
        case .subscribe:
            if was.hasFrom { return .answerSubscribed }
            next.request = stanza()
            // §3.4.2: nobody is asked again.
            if item.isApproved { return .approve }
            return item.request == nil ? .deliver : []
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
