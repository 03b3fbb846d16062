internal import ModuleKit

/// RFC 6121 §8.5.2 and §8.5.3, with what waits for the account in front of what comes now.
struct DeliveryRules: MessageService {
    /// A message that stands alone was meant for the resource that it names, and its sender hears that it did not arrive
    /// (§8.5.3.2.1); one of a group chat is for a resource or for nobody (§8.5.2.1.1).
    static func isForNobody(_ message: Stanza, _ account: any Account) -> Bool {
        guard let resource = message.to?.resource else { return false }
        if message.type == .chat { return false }
        if message.type == .groupchat { return resource.isEmpty || account.session(resource) == nil }
        guard !resource.isEmpty, account.session(resource) == nil else { return false }
        return message.classification.storage != .vanish
    }

    func destination(of message: Stanza, for account: any Account) -> MessageDestination {
        guard let to = message.to, !to.resource.isEmpty else { return bare(message, account) }
        guard let session = account.session(to.resource) else { return missing(message, account) }
        // §8.5.3.1, whatever its priority: the sender knows whom it means.
        return mustQueue(message, for: session) ? .away : .session(session)
    }

    /// What waits for the account goes first, whatever resource it was sent to: the one that is addressed is sent it, or
    /// will be in a moment. One that takes no messages for the account gets its own at once.
    private func mustQueue(_ message: Stanza, for session: any Session) -> Bool {
        guard session.account.isSpooling(for: session), message.classification.storage == .keep else { return false }
        return session.isInterested || session.isArriving
    }

    /// §8.5.3.2.1: no such resource. Only a chat goes on with whoever is there.
    private func missing(_ message: Stanza, _ account: any Account) -> MessageDestination {
        message.type == .chat ? bare(message, account) : .nowhere
    }

    /// §8.5.2.
    private func bare(_ message: Stanza, _ account: any Account) -> MessageDestination {
        switch message.type {
        case .groupchat, .error: return .nowhere
        case .headline: return .sessions(takers(message, account))
        default: break
        }
        // What waits already goes first.
        if account.isSpooling { return .away }
        let sessions = best(takers(message, account))
        return sessions.isEmpty ? .away : .sessions(sessions)
    }

    /// Those that take messages for the account, without those whose rules refuse this one (XEP-0016 §2.2).
    private func takers(_ message: Stanza, _ account: any Account) -> [any Session] {
        let sender = account.hasRules ? message.from : nil
        var found: [any Session] = []
        account.forEachSession { session in
            guard session.isInterested else { return }
            if let sender, account.rules(for: session)?.refuses(.message, sender) == true { return }
            found.append(session)
        }
        return found
    }

    /// The most available: every session of the highest priority that is not negative (§8.5.2.1.1).
    private func best(_ takers: [any Session]) -> [any Session] {
        guard takers.count > 1, let most = takers.map(\.priority).max() else { return takers }
        return takers.filter { $0.priority == most }
    }
}
