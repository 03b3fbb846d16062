internal import ModuleKit

/// What a roster set asks for (RFC 6121 §2.3 to §2.5), checked.
struct RosterEdit {
    let contact: BareJID
    private let change: Change

    private enum Change {
        case update(name: String?, groups: [String])
        case remove
    }

    /// - Throws: every error of RFC 6121 §2.3.3.
    init(_ query: ElementView, by account: BareJID, _ limits: RosterLimits) throws(StanzaError) {
        var children = query.children
        guard let item = children.next(), children.next() == nil, item.isNamed("item", .roster),
            let text = item.attribute("jid")
        else { throw .badRequest }
        guard let address = JID(text), address.isBare else { throw .jidMalformed }
        guard address.bare != account else { throw .notAllowed }
        contact = address.bare
        // Every other subscription is ignored: it is not the client's to say (§2.1.2.5).
        if item.attribute("subscription") == "remove" {
            change = .remove
            return
        }
        let name = item.attribute("name")
        guard (name?.utf8.count ?? 0) <= limits.name else { throw .notAcceptable }
        change = .update(name: name, groups: try Self.groups(of: item, limits))
    }

    private static func groups(of item: ElementView, _ limits: RosterLimits) throws(StanzaError) -> [String] {
        var groups: [String] = []
        for child in item.children where child.isNamed("group", .roster) {
            let name = child.text
            guard !groups.contains(name) else { throw .badRequest }
            guard !name.isEmpty, name.utf8.count <= limits.name, groups.count < limits.groups else {
                throw .notAcceptable
            }
            groups.append(name)
        }
        return groups
    }

    func begin(_ roster: Roster, _ account: any Account, _ responder: IQResponder, _ limits: RosterLimits) {
        let writer = RosterWriter(roster: roster, account: account)
        roster.turns.take(
            contact,
            Turns.Turn(isOwn: true) {
                switch change {
                case .update(let name, let groups): update(name, groups, writer, responder, limits)
                case .remove: remove(writer, responder)
                }
            })
    }

    private func update(
        _ name: String?, _ groups: [String], _ writer: RosterWriter, _ responder: IQResponder, _ limits: RosterLimits
    ) {
        let roster = writer.roster
        let old = roster[contact]
        var item = old ?? RosterItem(contact)
        item.isHidden = false
        item.name = name
        item.groups = groups
        guard roster.hasRoom(for: item, over: old, limits) else {
            responder.answer(.failure(.resourceConstraint))
            return roster.turns.done(contact)
        }
        writer.write(item, over: old, isEdit: true) { answer($0, responder) }
    }

    private func answer(_ outcome: RosterWriter.Outcome, _ responder: IQResponder) {
        switch outcome {
        case .done: responder.answer(.success(nil))
        case .failed: responder.answer(.failure(.resourceConstraint))
        // It is tried again.
        case .conflict: break
        }
    }

    // MARK: Removing

    /// Both directions of the subscription end, as if the user had said so (RFC 6121 §2.5.2): one after the other, each
    /// with what the contact makes of it, and at last the item is gone.
    private func remove(_ writer: RosterWriter, _ responder: IQResponder) {
        let roster = writer.roster
        guard let item = roster[contact], !item.isHidden else {
            responder.answer(.failure(.itemNotFound))
            return roster.turns.done(contact)
        }
        guard item.subscription.hasTo || item.isAsking, item.subscription.hasFrom || item.request != nil else {
            return removeNow(item, writer, responder)
        }
        var half = item
        half.isAsking = false
        half.subscription = .init(to: false, from: item.subscription.hasFrom)
        writer.write(
            half, over: item, isQuiet: true, carrying: { send(.unsubscribe, writer.account, $0) },
            then: { outcome in
                switch outcome {
                case .done: removeNow(half, writer, responder)
                case .failed:
                    responder.answer(.failure(.resourceConstraint))
                    roster.turns.done(contact)
                case .conflict: roster.turns.giveWay(to: contact)
                }
            })
    }

    private func removeNow(_ item: RosterItem, _ writer: RosterWriter, _ responder: IQResponder) {
        var gone = RosterItem(contact)
        gone.isHidden = true
        gone.revision = item.revision
        var carrying: ((SharedChange) -> Void)?
        if item.subscription.hasTo || item.isAsking {
            carrying = { send(.unsubscribe, writer.account, $0) }
        } else if item.subscription.hasFrom || item.request != nil {
            carrying = { shared in
                if item.subscription.hasFrom { sendUnavailable(writer.account) }
                send(.unsubscribed, writer.account, shared)
            }
        }
        writer.write(gone, over: item, carrying: carrying) { answer($0, responder) }
    }

    private func send(_ type: Stanza.StanzaType, _ account: any Account, _ shared: SharedChange) {
        var presence = Element("presence", .client)
        presence[attribute: "type"] = "\(type)"
        let stanza = Stanza(presence).with(from: JID(account.address), to: JID(contact))
        account.kernel.route(Envelope(stanza, shared: shared))
    }

    /// While the contact may still see it (RFC 6121 §3.2.2).
    private func sendUnavailable(_ account: any Account) {
        account.forEachSession { session in
            // Whom the rules keep from seeing it was told so before.
            guard session.isAvailable, account.rules(for: session)?.refuses(.presenceOut, JID(contact)) != true
            else { return }
            var gone = Element("presence", .client)
            gone[attribute: "type"] = "unavailable"
            account.kernel.route(Envelope(Stanza(gone).with(from: session.address, to: JID(contact))))
        }
    }
}
