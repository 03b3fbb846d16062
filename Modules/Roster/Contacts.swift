internal import ModuleKit

/// The roster as other modules use it.
struct Contacts: ContactService {
    let limits: RosterLimits

    private func roster(of account: any Account) -> Roster? { account.state[Roster.self] }

    func isSubscriber(_ contact: BareJID, to account: any Account) -> Bool {
        roster(of: account)?.traits(of: contact).contains(.from) ?? false
    }

    func isSubscribed(_ account: any Account, to contact: BareJID) -> Bool {
        roster(of: account)?.traits(of: contact).contains(.to) ?? false
    }

    func isContact(_ contact: BareJID, of account: any Account) -> Bool {
        roster(of: account)?[contact].map { !$0.isHidden } ?? false
    }

    func forEachSubscriber(of account: any Account, _ body: (BareJID) -> Void) {
        roster(of: account)?.forEach(.from, body)
    }

    func forEachSubscription(of account: any Account, _ body: (BareJID) -> Void) {
        roster(of: account)?.forEach(.to, body)
    }

    func forEachRequested(by account: any Account, _ body: (BareJID) -> Void) {
        roster(of: account)?.forEach(.asking, body)
    }

    func groups(of contact: BareJID, for account: any Account) -> [String] {
        guard let item = roster(of: account)?[contact], !item.isHidden else { return [] }
        return item.groups
    }

    func hasGroup(_ name: String, on account: any Account) -> Bool {
        let name = ExactString(name)
        return roster(of: account)?.items.contains { item in
            !item.isHidden && item.groups.contains { ExactString($0) == name }
        } ?? false
    }

    func isInterested(_ session: any Session) -> Bool { session.state[RosterInterest.self] != nil }

    func subscriptions(of account: any Account, after contact: BareJID?, most: Int) -> [BareJID] {
        roster(of: account)?.contacts(.to, after: contact, most: most) ?? []
    }

    func pendingRequests(of account: any Account, after contact: BareJID?, most: Int) -> [(from: BareJID, Stanza)] {
        guard let roster = roster(of: account) else { return [] }
        let reader = XMLDocumentReader()
        return roster.contacts(.request, after: contact, most: most).map { contact in
            let bytes = roster[contact]?.request ?? []
            // Of some requests only that they were made is known.
            let kept = bytes.withUnsafeBytes { try? reader.read($0) }.map { Stanza(trusted: $0) }
            let request = kept.flatMap { $0.kind == .presence && $0.type == .subscribe ? $0 : nil } ?? Self.mere
            return (contact, request.with(from: JID(contact), to: JID(account.address)))
        }
    }

    func apply(
        _ envelope: Envelope, _ direction: SubscriptionDirection, with contact: BareJID, on account: any Account,
        _ handler: SubscriptionHandler
    ) {
        guard let roster = roster(of: account) else { return handler.ended(.failure(.itemNotFound)) }
        if envelope.shared != nil, roster.turns.isAway(contact),
            account.address.description < contact.description
        {
            // Each of the two waits for the other: one of them has to go first, and this is how both know which.
            envelope.shared?.end(.conflict)
            return
        }
        guard !roster.turns.isFull else {
            envelope.shared?.end(.failed)
            return handler.ended(.failure(.resourceConstraint))
        }
        let change = SubscriptionChange(
            envelope: envelope, contact: contact, roster: roster, account: account, limits: limits, handler: handler)
        roster.turns.take(
            contact,
            Turns.Turn(isOwn: direction == .outbound, bytes: envelope.stanza.byteCount) { change.begin(direction) })
    }

    private static let mere = Stanza(Element("presence", .client, ["type": "subscribe"]))

    /// The request as it is shown again; of a long one only that it was made.
    static func kept(_ stanza: Stanza) -> [UInt8] {
        func written(_ stanza: Stanza) -> [UInt8] {
            let output = OutputBuffer(capacity: 256)
            stanza.write(into: output, inheriting: .empty, contentNamespace: .client)
            return output.withBytes { Array($0) }
        }
        let bytes = written(stanza)
        return bytes.count <= RosterLimits.longestRequest ? bytes : written(mere)
    }
}

/// One subscription stanza and what it does to one roster, in its turn.
private struct SubscriptionChange {
    let envelope: Envelope
    let contact: BareJID
    let roster: Roster
    let account: any Account
    let limits: RosterLimits
    let handler: SubscriptionHandler

    func begin(_ direction: SubscriptionDirection) {
        let old = roster[contact]
        var fresh = RosterItem(contact)
        fresh.isHidden = true
        let outcome = SubscriptionTable.apply(
            envelope.stanza.type, direction, to: old ?? fresh, stanza: Contacts.kept(envelope.stanza))
        // What is sent on is waited for even if nothing changes here: the contact may be changing its mind.
        let isSent = direction == .outbound && outcome.effect.contains(.deliver)
        guard outcome.item != old ?? fresh || isSent else {
            handler.ended(.success(outcome.effect))
            return roster.turns.done(contact)
        }
        guard roster.hasRoom(for: outcome.item, over: old, limits) else {
            envelope.shared?.end(.failed)
            handler.ended(.failure(.resourceConstraint))
            return roster.turns.done(contact)
        }
        let writer = RosterWriter(roster: roster, account: account)
        switch direction {
        case .outbound:
            let carrying: ((SharedChange) -> Void)? = isSent ? { handler.send(outcome.effect, $0) } : nil
            writer.write(outcome.item, over: old, carrying: carrying) { result in
                switch result {
                case .done: handler.ended(.success(outcome.effect))
                case .failed: handler.ended(.failure(.resourceConstraint))
                case .conflict: break
                }
            }
        case .inbound:
            writer.write(outcome.item, over: old, with: envelope.shared) { result in
                if case .done = result {
                    envelope.shared?.end(.committed)
                    handler.ended(.success(outcome.effect))
                } else {
                    envelope.shared?.end(.failed)
                    handler.ended(.failure(.resourceConstraint))
                }
            }
        }
    }
}
