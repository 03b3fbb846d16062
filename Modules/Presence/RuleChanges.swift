internal import ModuleKit

/// What contacts and clients are told when other rules hold for a session.
struct RuleChanges: PresenceService {
    let contacts: any ContactService

    func rulesChanged(for session: any Session, from old: Rules?, to new: Rules?) {
        showToSubscribers(session, old, new)
        hideFromOthers(session, new)
        if session.isAvailable { showOthers(session, old, new) }
    }

    private func showToSubscribers(_ session: any Session, _ old: Rules?, _ new: Rules?) {
        guard let presence = session.presence else { return }
        let gone = Stanza(Element("presence", .client, ["type": "unavailable"]))
        contacts.forEachSubscriber(of: session.account) { contact in
            let contact = JID(contact)
            let (was, isNow) = (old.allows(.presenceOut, contact), new.allows(.presenceOut, contact))
            guard was != isNow else { return }
            session.kernel.route(
                Envelope((isNow ? presence : gone).with(from: session.address, to: contact)))
        }
    }

    /// Those that the client has sent presence to hear that it has gone, and are not sent it again (RFC 6121 §4.6).
    private func hideFromOthers(_ session: any Session, _ new: Rules?) {
        guard let directed = session.state[DirectedPresence.self] else { return }
        let gone = Stanza(Element("presence", .client, ["type": "unavailable"]))
        for address in directed.addresses where !new.allows(.presenceOut, address) {
            directed.remove(address)
            // A subscriber has just been told.
            guard !session.isAvailable || !contacts.isSubscriber(address.bare, to: session.account) else { continue }
            session.kernel.route(Envelope(gone.with(from: session.address, to: address)))
        }
    }

    /// XEP-0016 §2.9: to the client a contact whose presence is refused has gone; one whose presence is let in again is
    /// asked for it.
    private func showOthers(_ session: any Session, _ old: Rules?, _ new: Rules?) {
        let gone = Stanza(Element("presence", .client, ["type": "unavailable"])).asNotice()
        let probe = Stanza(Element("presence", .client, ["type": "probe"]))
        contacts.forEachSubscription(of: session.account) { contact in
            let (was, isNow) = (old?.hides(contact) != true, new?.hides(contact) != true)
            guard was != isNow else { return }
            if isNow {
                session.kernel.route(Envelope(probe.with(from: session.address, to: JID(contact))))
            } else {
                session.send(Envelope(gone.with(from: JID(contact), to: session.address)))
            }
        }
    }
}

extension Rules {
    /// The contact's presence does not get in, or cannot even be asked for.
    func hides(_ contact: BareJID) -> Bool {
        refuses(.presenceIn, JID(contact)) || refuses(.other, JID(contact))
    }
}

extension Rules? {
    fileprivate func allows(_ kind: RuleKind, _ address: JID) -> Bool { self?.refuses(kind, address) != true }
}
