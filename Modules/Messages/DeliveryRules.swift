internal import ModuleKit

/// RFC 6121 §8.5.2 and §8.5.3, with what waits for the account in front of what comes now.
struct DeliveryRules: MessageService {
    /// A message that stands alone was meant for the resource that it names, and its sender hears that it did not arrive
    /// (§8.5.3.2.1); one of a group chat is for a resource or for nobody (§8.5.2.1.1).
    static func isForNobody(_ message: Stanza, _ account: any Account) -> Bool {
        guard let resource = message.to?.resource else { return false }
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
        case .headline: return .sessions(interested(account))
        default: break
        }
        // What waits already goes first.
        if account.isSpooling { return .away }
        let sessions = best(of: account)
        return sessions.isEmpty ? .away : .sessions(sessions)
    }

    private func interested(_ account: any Account) -> [any Session] {
        var found: [any Session] = []
        account.forEachSession { if $0.isInterested { found.append($0) } }
        return found
    }

    /// The most available: every session of the highest priority that is not negative (§8.5.2.1.1).
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
