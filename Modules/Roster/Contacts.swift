internal import ModuleKit

/// The roster as other modules use it.
struct Contacts: ContactService {
    let limit: Int

    private func item(_ contact: BareJID, _ account: any Account) -> RosterItem? {
        account.state[Roster.self]?.items[contact]
    }

    func isSubscriber(_ contact: BareJID, to account: any Account) -> Bool {
        item(contact, account)?.subscription.hasFrom ?? false
    }

    func isSubscribed(_ account: any Account, to contact: BareJID) -> Bool {
        item(contact, account)?.subscription.hasTo ?? false
    }

    func forEachSubscriber(of account: any Account, _ body: (BareJID) -> Void) {
        account.state[Roster.self]?.items.values.forEach { if $0.subscription.hasFrom { body($0.contact) } }
    }

    func forEachSubscription(of account: any Account, _ body: (BareJID) -> Void) {
        account.state[Roster.self]?.items.values.forEach { if $0.subscription.hasTo { body($0.contact) } }
    }

    func forEachPendingRequest(of account: any Account, _ body: (BareJID, [UInt8]) -> Void) {
        account.state[Roster.self]?.items.values.forEach { if let request = $0.request { body($0.contact, request) } }
    }

    func apply(
        _ type: Stanza.StanzaType, _ direction: SubscriptionDirection, with contact: BareJID, stanza: Stanza,
        on account: any Account, then done: @escaping (Result<SubscriptionEffect, StanzaError>) -> Void
    ) {
        guard let roster = account.state[Roster.self] else { return done(.failure(.itemNotFound)) }
        var item = roster.items[contact] ?? RosterItem(contact)
        let isNew = roster.items[contact] == nil
        if isNew { item.isHidden = true }
        let output = OutputBuffer(capacity: 256)
        stanza.write(into: output, inheriting: .empty, contentNamespace: .client)
        let outcome = SubscriptionTable.apply(
            type, direction, to: item, stanza: output.withBytes { $0.count <= 4096 ? Array($0) : [] })
        guard outcome.item != item else { return done(.success(outcome.effect)) }
        if isNew, roster.items.count >= limit {
            return done(direction == .outbound ? .failure(.resourceConstraint) : .success([]))
        }
        RosterWriter.write(outcome.item, in: roster, of: account, isVisible: outcome.isVisible) { result in
            done(result.map { outcome.effect })
        }
    }
}
