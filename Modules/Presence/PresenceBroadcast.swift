internal import ModuleKit

/// Presence to and from contacts (RFC 6121 §4).
struct PresenceBroadcast {
    let contacts: any ContactService

    // MARK: Our clients

    /// Presence without an address: to all who may see it (RFC 6121 §4.2.2, §4.4.2, §4.5.2).
    func announce(_ stanza: Stanza, from session: any Session) {
        guard stanza.type == .available else { return leave(session, saying: stanza) }
        guard let priority = Self.priority(of: stanza) else {
            return session.kernel.bounce(Envelope(stanza.with(to: JID(session.account.address))), .badRequest)
        }
        let isInitial = !session.isAvailable
        session.presence = stanza
        session.priority = priority
        // RFC 6121 §4.2.2: after its first presence a session gets the presences of others.
        if isInitial { LoginBurst.begin(session, contacts) }
        send(stanza, from: session)
    }

    private func send(_ stanza: Stanza, from session: any Session) {
        let account = session.account
        let rules = account.rules(for: session)
        contacts.forEachSubscriber(of: account) { contact in
            guard rules?.refuses(.presenceOut, JID(contact)) != true else { return }
            account.kernel.route(Envelope(stanza.with(from: session.address, to: JID(contact))))
        }
        // RFC 6121 §4.2.2: the account's own sessions, this one included.
        account.forEachSession { other in
            if other.isAvailable || other === session {
                other.send(Envelope(stanza.with(from: session.address, to: other.address)))
            }
        }
    }

    /// However a session ends, those who saw it see it go (RFC 6121 §4.5.2, §4.6.3). To say it twice tells nobody.
    func leave(_ session: any Session, saying stanza: Stanza? = nil) {
        var gone = Element("presence", .client)
        gone[attribute: "type"] = "unavailable"
        let stanza = (stanza ?? Stanza(gone)).with(from: session.address, to: nil)
        let wasAvailable = session.isAvailable
        if wasAvailable { send(stanza, from: session) }
        session.presence = nil
        session.priority = 0
        LoginBurst.end(session)
        guard let directed = session.state[DirectedPresence.self] else { return }
        session.state[DirectedPresence.self] = nil
        for address in directed.addresses {
            if wasAvailable, contacts.isSubscriber(address.bare, to: session.account) { continue }
            session.kernel.route(Envelope(stanza.with(from: session.address, to: address)))
        }
    }

    /// RFC 6121 §4.7.2.3: -128 to 127; nil: something else.
    static func priority(of stanza: Stanza) -> Int8? {
        guard let priority = stanza.root.first("priority", .client) else { return 0 }
        let text = priority.text.filter { !$0.isWhitespace }
        return text.isEmpty ? 0 : Int8(text)
    }

    // MARK: From contacts

    /// Who is subscribed and asks for the account gets the last presence of each resource; who asks for one resource,
    /// or was sent presence directly, that it is there and no more (RFC 6121 §4.3.2, §4.6.6).
    func answerProbe(_ probe: Stanza, for account: any Account) {
        guard let from = probe.from, let to = probe.to else { return }
        let mayKnow = from.bare == account.address || contacts.isSubscriber(from.bare, to: account)
        var hasAnswered = false
        account.forEachSession { session in
            guard to.isBare || to.resource == session.address.resource,
                mayKnow && session.isAvailable || session.state[DirectedPresence.self]?.reaches(from) == true,
                account.rules(for: session)?.refuses(.presenceOut, from) != true
            else { return }
            hasAnswered = true
            let presence = mayKnow && to.isBare ? session.presence : nil
            account.kernel.route(Envelope((presence ?? Self.mere).with(from: session.address, to: from)))
        }
        // Not to whom a resource was named that there may be or not.
        guard !mayKnow, !hasAnswered, to.isBare else { return }
        // Who may not know learns that he is not subscribed, and nothing else (§4.3.2.1: to which question).
        var answer = Element("presence", .client)
        answer[attribute: "type"] = "unsubscribed"
        answer[attribute: "id"] = probe.id
        account.kernel.route(Envelope(Stanza(answer).with(from: JID(account.address), to: JID(from.bare))))
    }

    private static let mere = Stanza(Element("presence", .client))

    /// Presence for the account: to one session if it is named, else to all available ones (RFC 6121 §8.5.2.1.2,
    /// §8.5.3). What becomes of a subscription stanza that cannot be sent on concerns whoever shows a roster too
    /// (§3.1.2).
    func deliver(_ envelope: Envelope, to account: any Account) {
        let stanza = envelope.stanza
        guard let to = stanza.to else { return }
        account.forEachSession { session in
            guard to.isBare || to.resource == session.address.resource else { return }
            if stanza.type == .unavailable, let from = stanza.from {
                // §4.6.1: whoever has gone need not hear that this session goes.
                session.state[DirectedPresence.self]?.remove(from)
            }
            // A request for a subscription goes out under the bare address: what became of it is for who watches the
            // roster (RFC 6121 §3.1.2).
            let isMeant = !to.isBare || session.isAvailable || stanza.type == .error && contacts.isInterested(session)
            if isMeant { session.send(Envelope(stanza)) }
        }
    }
}
