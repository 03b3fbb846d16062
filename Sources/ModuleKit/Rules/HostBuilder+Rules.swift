internal import XMPPCore

extension HostBuilder {
    /// Has the rules of accounts kept on this host, and obeyed by all that comes in and goes out. Whichever module asks
    /// first installs it, under its own name; the others get the same keeper.
    public mutating func keepRules() -> RuleKeeper {
        if let keeper = find(RuleKeeper.self) { return keeper }
        let keeper = RuleKeeper(
            contacts: find((any ContactService).self), presence: find((any PresenceService).self))
        loadAccount(RuleBook.self, RuleBook.read)
        received.add(.admit, on: .all) { event in keeper.judge(&event) }
        arriving.add(.admit, on: .all) { event in keeper.judge(&event) }
        // Requests go to sessions that are named, so they were judged when they arrived; and errors to bare addresses go
        // to nobody.
        let rest = Interest(kinds: Interest.message.kinds | Interest.presence.kinds).except(.error)
        sending.add(.admit, on: rest) { event in keeper.judge(&event) }
        provide(RuleKeeper.self, keeper)
        return keeper
    }
}

/// XEP-0016 §2.2, §2.14 and XEP-0191 §3.3: what becomes of a stanza that the rules refuse.
extension RuleKeeper {
    /// Judges a stanza that a client sends.
    func judge(_ event: inout Received) -> Verdict {
        let (session, stanza) = (event.session, event.envelope.stanza)
        guard let rules = rules(of: session.account, for: session), let to = stanza.to, !Self.givesUp(stanza),
            let item = rules.refusal(of: RuleKind(outgoing: stanza), to)
        else { return .next }
        guard stanza.isAnswered else { return .handled }
        var error = StanzaError(.notAcceptable, type: .cancel)
        if item.blocked != nil { error.details = [Element("blocked", .blockingErrors)] }
        // Not by way of the address that refuses, which is one that nothing comes in from.
        session.send(Envelope(stanza.reply(error: error)))
        return .handled
    }

    /// To take a subscription back, or to deny one, is to have less to do with somebody: that may be said to the
    /// blocked too, or it could not be done at all.
    private static func givesUp(_ stanza: Stanza) -> Bool {
        stanza.kind == .presence && (stanza.type == .unsubscribe || stanza.type == .unsubscribed)
    }

    /// What comes for an account. Refused it is answered like what comes for nobody; but nothing answers traffic of a
    /// room, which would take an error for the end of its occupant.
    func judge(_ event: inout Arriving) -> Verdict {
        let stanza = event.envelope.stanza
        guard hasRules(event.account), let from = stanza.from, refuses(stanza, from, for: event.account) else {
            return .next
        }
        switch stanza.kind {
        case .presence: return .handled
        case .iq: return stanza.isRequest ? .reject(.serviceUnavailable) : .handled
        case .message:
            let isOfRoom = stanza.type == .groupchat && stanza.to?.isBare == false
            return isOfRoom || stanza.classification.storage == .vanish ? .handled : .reject(.serviceUnavailable)
        }
    }

    /// Who would take it decides: the session that is named, else each session that takes such things for the account,
    /// and without any of these the account (XEP-0016 §2.2).
    private func refuses(_ stanza: Stanza, _ from: JID, for account: any Account) -> Bool {
        let kind = RuleKind(incoming: stanza)
        if let to = stanza.to, !to.isBare, let session = account.session(to.resource) {
            return rules(of: account, for: session)?.refuses(kind, from) ?? false
        }
        // What is asked of the account itself no session answers.
        var (isTaken, isPassed) = (false, false)
        if stanza.kind != .iq {
            account.forEachSession { session in
                guard !isPassed, stanza.kind == .message ? session.isInterested : session.isAvailable else { return }
                isTaken = true
                isPassed = rules(of: account, for: session)?.refuses(kind, from) != true
            }
        }
        return isTaken ? !isPassed : rules(of: account, for: nil)?.refuses(kind, from) ?? false
    }

    /// What goes to one session: what the account let in may be refused by this one, and so may what has been waiting
    /// since before there was the rule.
    func judge(_ event: inout Sending) -> Verdict {
        let stanza = event.stanza
        guard let rules = rules(of: event.session.account, for: event.session), let from = stanza.from,
            // What the server tells of a contact's going, because that contact is refused from now on.
            stanza.kind == .message || stanza.notice == nil,
            rules.refuses(RuleKind(incoming: stanza), from)
        else { return .next }
        return .reject(.serviceUnavailable)
    }
}

extension Stanza {
    /// Whether its sender is told when it is refused (RFC 6120 §8.3.1; RFC 6121 §4.3, §4.5).
    fileprivate var isAnswered: Bool {
        canBeRejected && !(kind == .presence && (type == .unavailable || type == .probe))
    }
}

extension Namespace {
    static let blockingErrors: Namespace = "urn:xmpp:blocking:errors"
}
