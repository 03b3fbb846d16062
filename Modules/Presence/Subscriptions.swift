internal import ModuleKit

/// RFC 6121 §3: asking for, giving, taking back and giving up the sight of one another's presence. The state is the
/// roster's; what is said to whom is decided here, after the change is on disk.
struct Subscriptions {
    let contacts: any ContactService

    /// Our client says it.
    func send(_ envelope: Envelope, from session: any Session) -> Verdict {
        let (account, stanza) = (session.account, envelope.stanza)
        guard let contact = stanza.to?.bare else { return .reject(.badRequest) }
        guard contact != account.address else { return .handled }
        // RFC 6121 §3.1.2: from and to bare addresses.
        let outgoing = stanza.with(from: JID(account.address), to: JID(contact))
        contacts.apply(stanza.type, .outbound, with: contact, stanza: outgoing, on: account) { result in
            switch result {
            case .failure(let error): account.kernel.bounce(envelope, error)
            case .success(let effect):
                if effect.contains(.deliver) { account.kernel.route(Envelope(outgoing, receipt: envelope.receipt)) }
                follow(effect, account, contact)
            }
        }
        return .handled
    }

    /// A contact, or somebody who would be one, says it.
    func receive(_ envelope: Envelope, for account: any Account) {
        let stanza = envelope.stanza
        guard let from = stanza.from?.bare, from != account.address else { return }
        let incoming = stanza.with(from: JID(from), to: JID(account.address))
        contacts.apply(stanza.type, .inbound, with: from, stanza: incoming, on: account) { result in
            guard case .success(let effect) = result else {
                return account.kernel.bounce(envelope, .resourceConstraint)
            }
            if effect.contains(.deliver) {
                account.forEachSession { if $0.isAvailable { $0.send(Envelope(incoming)) } }
            }
            if effect.contains(.answerSubscribed) { say("subscribed", account, from) }
            follow(effect, account, from)
        }
    }

    private func follow(_ effect: SubscriptionEffect, _ account: any Account, _ contact: BareJID) {
        guard effect.contains(.sendPresence) || effect.contains(.sendUnavailable) else { return }
        account.forEachSession { session in
            guard let presence = session.presence else { return }
            if effect.contains(.sendPresence) {
                account.kernel.route(Envelope(presence.with(from: session.address, to: JID(contact))))
            } else {
                var gone = Element("presence", .client)
                gone[attribute: "type"] = "unavailable"
                account.kernel.route(Envelope(Stanza(gone).with(from: session.address, to: JID(contact))))
            }
        }
    }

    private func say(_ type: String, _ account: any Account, _ contact: BareJID) {
        var presence = Element("presence", .client)
        presence[attribute: "type"] = type
        account.kernel.route(Envelope(Stanza(presence).with(from: JID(account.address), to: JID(contact))))
    }
}
