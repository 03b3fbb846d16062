public import ModuleKit

/// RFC 6121 §8: which session of an account a message goes to.
public struct MessagesModule: Module {
    public static let info = ModuleInfo(
        "messages", [.rfc(6121)], wants: [(any PresenceService).self], provides: [(any MessageService).self])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        host.arriving.add(.resolve, on: .message.of(.normal, .groupchat)) { event in
            isForNobody(event) ? .reject(.serviceUnavailable) : .next
        }
        host.arriving.add(.deliver, on: .message) { event in deliver(&event) }
    }

    /// A message that stands alone was meant for the resource that it names, and its sender hears that it did not arrive
    /// (RFC 6121 §8.5.3.2.1); one of a group chat is for a resource or for nobody (§8.5.2.1.1).
    private func isForNobody(_ event: Arriving) -> Bool {
        let stanza = event.envelope.stanza
        guard let resource = stanza.to?.resource else { return false }
        if stanza.type == .groupchat { return resource.isEmpty || event.account.session(resource) == nil }
        guard !resource.isEmpty, event.account.session(resource) == nil else { return false }
        return stanza.classification.storage != .vanish
    }

    private func deliver(_ event: inout Arriving) -> Verdict {
        let stanza = event.envelope.stanza
        guard let to = stanza.to else { return .next }
        if !to.resource.isEmpty, let session = event.account.session(to.resource), !mustQueue(stanza, for: session) {
            // RFC 6121 §8.5.3.1, whatever its priority: the sender knows whom it means.
            session.send(event.envelope)
            return .handled
        }
        if to.resource.isEmpty { return deliverToBare(event, stanza) }
        return event.account.session(to.resource) == nil ? deliverToMissing(event, stanza) : undelivered(event)
    }

    /// What waits for the account goes first, whatever resource it was sent to: the one that is addressed is sent it, or
    /// will be in a moment. One that takes no messages for the account gets its own at once.
    private func mustQueue(_ stanza: Stanza, for session: any Session) -> Bool {
        guard session.account.isSpooling(for: session), stanza.classification.storage == .keep else { return false }
        return session.isInterested || session.isArriving
    }

    /// RFC 6121 §8.5.3.2.1: no such resource. Only a chat goes on with whoever is there.
    private func deliverToMissing(_ event: Arriving, _ stanza: Stanza) -> Verdict {
        stanza.type == .chat ? deliverToBare(event, stanza) : .handled
    }

    /// RFC 6121 §8.5.2.
    private func deliverToBare(_ event: Arriving, _ stanza: Stanza) -> Verdict {
        switch stanza.type {
        case .groupchat, .error: return .handled
        case .headline:
            let sessions = interested(event.account)
            if !sessions.isEmpty { event.account.deliver(event.envelope, to: sessions) }
            return .handled
        default: break
        }
        // What waits already goes first.
        if event.account.isSpooling { return undelivered(event) }
        let sessions = best(of: event.account)
        guard !sessions.isEmpty else { return undelivered(event) }
        event.account.deliver(event.envelope, to: sessions)
        return .handled
    }

    private func undelivered(_ event: Arriving) -> Verdict {
        event.account.undeliverable(event.envelope)
        return .handled
    }

    private func interested(_ account: any Account) -> [any Session] {
        var found: [any Session] = []
        account.forEachSession { if $0.isInterested { found.append($0) } }
        return found
    }

    /// The most available: every session of the highest priority that is not negative (RFC 6121 §8.5.2.1.1).
    private func best(of account: any Account) -> [any Session] {
        var found: [any Session] = []
        account.forEachSession { session in
            guard session.isInterested else { return }
            if let first = found.first, session.priority < first.priority { return }
            if let first = found.first, session.priority > first.priority { found.removeAll() }
            found.append(session)
        }
        return found
    }
}
