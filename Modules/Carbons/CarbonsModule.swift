public import ModuleKit

/// XEP-0280: an account's devices get copies of the messages that another one of them receives and sends.
public struct CarbonsModule: Module {
    public static let info = ModuleInfo(
        "carbons", [.xep(280, version: "1.0.1"), .xep(297, version: "1.0")], needs: [(any MessageService).self])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        guard let messages = host.find((any MessageService).self) else { return }
        host.feature(.carbons)
        // §6.2: the rules of §6.1, all of them.
        host.feature(.carbonRules)
        host.iqForAnybody(.set, .carbons, "enable") { request, responder throws(StanzaError) in
            CopiedSessions.of(try account(request)).insert(try session(request))
            responder.answer(.success(nil))
        }
        host.iqForAnybody(.set, .carbons, "disable") { request, responder throws(StanzaError) in
            CopiedSessions.remove(try session(request), of: try account(request))
            responder.answer(.success(nil))
        }
        host.closed.add { session in CopiedSessions.remove(session.ref, of: session.account) }
        let copied = host.counter("copied", "Copies of messages for other devices of their accounts.")
        host.received.add(.copy, on: .message) { event in
            copied.value += copySent(event)
            return .next
        }
        host.arriving.add(.copy, on: .message) { event in
            copied.value += copyArriving(event, messages)
            return .next
        }
    }

    // MARK: Asking

    /// §4.1: others are told the same of accounts and of names that nobody has.
    private func account(_ request: IQRequest) throws(StanzaError) -> any Account {
        guard let account = request.account, request.stanza.from?.bare == account.address else { throw .notAllowed }
        return account
    }

    private func session(_ request: IQRequest) throws(StanzaError) -> SessionRef {
        guard let session = request.session else { throw .notAllowed }
        return session.ref
    }

    // MARK: Copying

    /// §8: to the sender's other devices. What it sends to its own account is copied when it arrives there.
    private func copySent(_ event: Received) -> Int {
        let (session, stanza) = (event.session, event.envelope.stanza)
        let account = session.account
        guard let copied = account.state[CopiedSessions.self], copied.hasOther(than: session.ref),
            let to = stanza.to, to.bare != account.address,
            CopyRules.isEligible(stanza, .sent, with: to.bare, copied.conversations)
        else { return 0 }
        let copy = Self.wrapped(Self.copied(event.envelope, for: account), of: stanza, as: "sent", by: account)
        return send(copy, of: stanza, with: to.bare, copied, account) { $0.ref != session.ref }
    }

    /// §7: to the devices that do not get the message itself. What waits for an account goes to one of them later; what
    /// is refused is nobody's.
    private func copyArriving(_ event: Arriving, _ messages: any MessageService) -> Int {
        let (account, stanza) = (event.account, event.envelope.stanza)
        guard let copied = account.state[CopiedSessions.self], !isForOnlySession(stanza, account),
            let from = stanza.from, !Self.wasHere(stanza, account),
            CopyRules.isEligible(stanza, .received, with: from.bare, copied.conversations)
        else { return 0 }
        let destination = messages.destination(of: stanza, for: account)
        // Nobody keeps it: it goes back.
        if case .away = destination, stanza.classification.storage == .keep, account.mailbox == nil { return 0 }
        let copy = Self.wrapped(stanza.element, of: stanza, as: "received", by: account)
        return send(copy, of: stanza, with: from.bare, copied, account) { session in
            !destination.reaches(session, stanza) && session.address != from
                && account.rules(for: session)?.refuses(.message, from) != true
        }
    }

    /// The usual case of one device: it gets all there is.
    private func isForOnlySession(_ stanza: Stanza, _ account: any Account) -> Bool {
        guard account.sessionCount == 1, stanza.type != .error else { return false }
        var isInterested = false
        account.forEachSession { isInterested = $0.isInterested }
        return isInterested
    }

    /// It comes from the queue of a session that ended, and was copied when it came first. Only we say of a message that
    /// this host has delayed it.
    private static func wasHere(_ stanza: Stanza, _ account: any Account) -> Bool {
        guard stanza.namespaces & Namespace.delay.bit != 0 else { return false }
        let host = account.address.domain
        return stanza.element.elements.contains { $0.isNamed("delay", .delay) && $0[attribute: "from"] == host }
    }

    /// A sent message as the sender's other devices see it: with its id in the account's archive, which nobody else may
    /// know (XEP-0313 §3.4).
    private static func copied(_ envelope: Envelope, for account: any Account) -> Element {
        var element = envelope.stanza.element
        if let id = envelope.shared?.mark?.tell() {
            element.append(.archiveID(id, by: account.address))
        }
        return element
    }

    private static func wrapped(
        _ inner: Element, of stanza: Stanza, as name: String, by account: any Account
    ) -> Stanza {
        let copy = Element(
            "message", .client, ["type": stanza.root.attribute("type")],
            Element(name, .carbons, [:], Element("forwarded", .forwarded, [:], inner)))
        return Stanza(copy).with(from: JID(account.address))
            .asNotice(stanza.classification.isUrgent ? .urgent : .patient)
    }

    /// - Returns: how many.
    private func send(
        _ copy: Stanza, of stanza: Stanza, with peer: BareJID, _ copied: CopiedSessions, _ account: any Account,
        to isMeant: (any Session) -> Bool
    ) -> Int {
        var count = 0
        account.forEachSession { session in
            guard copied.contains(session.ref), isMeant(session) else { return }
            session.send(Envelope(copy.with(to: session.address)))
            count += 1
        }
        if count > 0, let id = stanza.id { copied.conversations.note(id, with: peer) }
        return count
    }
}

extension MessageDestination {
    /// Whether this session gets the message itself, now or later.
    fileprivate func reaches(_ session: any Session, _ stanza: Stanza) -> Bool {
        switch self {
        case .session(let only): only === session
        case .sessions(let sessions): sessions.contains { $0 === session }
        case .away: stanza.classification.storage == .keep && session.account.serves(session)
        case .nowhere: false
        }
    }
}

extension Namespace {
    static let carbonRules = Namespace("urn:xmpp:carbons:rules:0")
}
