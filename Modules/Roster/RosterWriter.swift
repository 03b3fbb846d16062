internal import ModuleKit

/// Changes one item: in memory at once, so that what comes next sees it; pushed when it is on disk; taken back if the
/// disk refuses.
enum RosterWriter {
    typealias Completion = (Result<Void, StanzaError>) -> Void

    static func write(
        _ item: RosterItem, in roster: Roster, of account: any Account, isVisible: Bool = true,
        then done: @escaping Completion
    ) {
        let before = roster.items[item.contact]
        roster.items[item.contact] = item
        guard let owner = account.owner else { return done(.failure(.itemNotFound)) }
        let mutation = Mutation.put(
            RosterModule.store, owner, key: item.contact.description, value: item.stored)
        submit(mutation, account, undo: { take(back: before, item, roster) }) { result in
            if case .success = result, isVisible { push(item.element, of: account) }
            done(result)
        }
    }

    static func remove(
        _ item: RosterItem, in roster: Roster, of account: any Account, then done: @escaping Completion
    ) {
        roster.items[item.contact] = nil
        guard let owner = account.owner else { return done(.failure(.itemNotFound)) }
        let mutation = Mutation.delete(RosterModule.store, owner, key: item.contact.description)
        submit(mutation, account, undo: { if roster.items[item.contact] == nil { roster.items[item.contact] = item } })
        {
            result in
            if case .success = result { push(item.removal, of: account) }
            done(result)
        }
    }

    private static func take(back before: RosterItem?, _ item: RosterItem, _ roster: Roster) {
        // Unless something else has changed it since.
        if roster.items[item.contact] == item { roster.items[item.contact] = before }
    }

    private static func submit(
        _ mutation: Mutation, _ account: any Account, undo: @escaping () -> Void, then done: @escaping Completion
    ) {
        let home = account.kernel.home
        let confined = Confined((undo, done))
        account.kernel.storage.submit([mutation]) { result in
            home.perform { _ in
                switch result {
                case .success: confined.value.1(.success(()))
                case .failure:
                    confined.value.0()
                    confined.value.1(.failure(.resourceConstraint))
                }
            }
        }
    }

    /// RFC 6121 §2.1.6: to the sessions that asked for the roster.
    static func push(_ item: Element, of account: any Account) {
        account.forEachSession { session in
            guard session.state[RosterInterest.self] != nil else { return }
            var query = Element("query", .roster)
            query.append(item)
            session.push(query)
        }
    }
}
