internal import ModuleKit

/// RFC 6121 §3: asking for, giving, taking back and giving up the sight of one another's presence. The state is the
/// roster's; what is said to whom is decided here.
struct Subscriptions {
    let contacts: any ContactService

    /// Our client says it.
    func send(_ envelope: Envelope, from session: any Session) -> Verdict {
        let (account, stanza) = (session.account, envelope.stanza)
        guard let contact = stanza.to?.bare else { return .reject(.badRequest) }
        guard contact != account.address else { return .handled }
        // RFC 6121 §3.1.2: from and to bare addresses.
        let outgoing = stanza.with(from: JID(account.address), to: JID(contact))
        send(Envelope(outgoing, receipt: envelope.receipt), to: contact, from: account) { error in
            account.kernel.bounce(envelope, error)
        }
        return .handled
    }

    private func send(
        _ envelope: Envelope, to contact: BareJID, from account: any Account, failed: @escaping (StanzaError) -> Void
    ) {
        let handler = SubscriptionHandler(
            send: { effect, shared in
                // §3.2.2: while the contact may still see it.
                if effect.contains(.sendUnavailable) { sendUnavailable(of: account, to: contact) }
                guard effect.contains(.deliver) else { return }
                account.kernel.route(Envelope(envelope.stanza, receipt: envelope.receipt, shared: shared))
            },
            ended: { result in
                switch result {
                case .failure(let error): failed(error)
                case .success(let effect):
                    if effect.contains(.sendPresence) { sendPresence(of: account, to: contact) }
                }
            })
        contacts.apply(Envelope(envelope.stanza), .outbound, with: contact, on: account, handler)
    }

    /// A contact, or somebody who would be one, says it.
    func receive(_ envelope: Envelope, for account: any Account) {
        let stanza = envelope.stanza
        guard let from = stanza.from?.bare, from != account.address else { return }
        let incoming = stanza.with(from: JID(from), to: JID(account.address))
        let isShared = envelope.shared != nil
        let handler = SubscriptionHandler(
            send: { _, _ in },
            ended: { result in
                guard case .success(let effect) = result else {
                    // Who wanted both sides written together hears of it that way.
                    return isShared ? () : account.kernel.bounce(envelope, .resourceConstraint)
                }
                if effect.contains(.deliver) { show(incoming, to: account) }
                if effect.contains(.answerSubscribed) {
                    account.kernel.route(Envelope(subscribed(by: account, to: from)))
                }
                if effect.contains(.approve) {
                    // If the disk refuses, the request waits for the user after all.
                    send(Envelope(subscribed(by: account, to: from)), to: from, from: account) { _ in }
                }
                if effect.contains(.sendUnavailable) { sendUnavailable(of: account, to: from) }
                if effect.contains(.sendPresence) { sendPresence(of: account, to: from) }
            })
        let apart = Envelope(incoming, receipt: envelope.receipt, shared: envelope.shared)
        contacts.apply(apart, .inbound, with: from, on: account, handler)
    }

    /// The account is gone: who sees its presence and whose presence it sees or has asked for hears so (RFC 6121 §3.2,
    /// §3.3).
    func takeLeave(_ account: any Account) {
        func say(_ type: String, _ contact: BareJID) {
            let presence = Stanza(Element("presence", .client, ["type": type]))
            account.kernel.route(Envelope(presence.with(from: JID(account.address), to: JID(contact))))
        }
        contacts.forEachSubscription(of: account) { say("unsubscribe", $0) }
        contacts.forEachRequested(by: account) { say("unsubscribe", $0) }
        contacts.forEachSubscriber(of: account) { say("unsubscribed", $0) }
    }

    /// Requests go to those who can show them to somebody, everything else to those who show a roster (RFC 6121
    /// §3.1.3, §3.1.6, §3.2.3, §3.3.3).
    private func show(_ stanza: Stanza, to account: any Account) {
        account.forEachSession { session in
            guard stanza.type == .subscribe ? session.isAvailable : contacts.isInterested(session) else { return }
            session.send(Envelope(stanza))
        }
    }

    private func sendPresence(of account: any Account, to contact: BareJID) {
        account.forEachSession { session in
            guard let presence = session.presence, isVisible(session, to: contact) else { return }
            account.kernel.route(Envelope(presence.with(from: session.address, to: JID(contact))))
        }
    }

    private func sendUnavailable(of account: any Account, to contact: BareJID) {
        account.forEachSession { session in
            guard session.isAvailable, isVisible(session, to: contact) else { return }
            // §4.6.1: what becomes of a subscription goes before what was sent directly.
            session.state[DirectedPresence.self]?.forget(contact)
            var gone = Element("presence", .client)
            gone[attribute: "type"] = "unavailable"
            account.kernel.route(Envelope(Stanza(gone).with(from: session.address, to: JID(contact))))
        }
    }

    /// Whom the rules keep from seeing it was told so before.
    private func isVisible(_ session: any Session, to contact: BareJID) -> Bool {
        session.account.rules(for: session)?.refuses(.presenceOut, JID(contact)) != true
    }

    private func subscribed(by account: any Account, to contact: BareJID) -> Stanza {
        var presence = Element("presence", .client)
        presence[attribute: "type"] = "subscribed"
        return Stanza(presence).with(from: JID(account.address), to: JID(contact))
    }
}
