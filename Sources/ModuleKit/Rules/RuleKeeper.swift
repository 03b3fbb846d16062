public import XMPPCore

/// The rules of one account as they hold for one of its sessions, or for the account where no session is meant. What
/// stands between an account and others asks here: there is one decision for all.
public struct Rules {
    let table: RuleTable
    let account: any Account
    let contacts: (any ContactService)?

    /// Whether what is of this kind may not pass between the account and this address.
    public func refuses(_ kind: RuleKind, _ address: JID) -> Bool { refusal(of: kind, address) != nil }

    /// The item that refuses it. Never between the account's own resources (XEP-0016 §2.1), nor between it and its
    /// server.
    public func refusal(of kind: RuleKind, _ address: JID) -> PrivacyItem? {
        guard !isOwn(address) else { return nil }
        let item = table.match(kind, address) {
            RuleTable.Relation(of: address.bare, to: account, contacts)
        }
        return item?.isDenial == true ? item : nil
    }

    private func isOwn(_ address: JID) -> Bool {
        let own = account.address
        return address.bare == own || address.local.isEmpty && address.domain == own.domain
    }
}

extension RuleTable.Relation {
    public init(of address: BareJID, to account: any Account, _ contacts: (any ContactService)?) {
        guard let contacts else {
            self.init(subscription: .none, groups: [])
            return
        }
        self.init(
            subscription: .init(
                to: contacts.isSubscribed(account, to: address), from: contacts.isSubscriber(address, to: account)),
            groups: contacts.groups(of: address, for: account))
    }
}

extension Account {
    /// What holds for this session, or for the account; nil: everything passes.
    public func rules(for session: (any Session)?) -> Rules? { ruleKeeper?.rules(of: self, for: session) }

    /// False: no rule can hold for any session.
    public var hasRules: Bool { ruleKeeper?.hasRules(self) ?? false }
}

/// Keeps the rules of accounts and has them obeyed, on one loop, for the modules that let users change them.
public final class RuleKeeper {
    public let contacts: (any ContactService)?
    private let presence: (any PresenceService)?
    private var watchers: [(RuleChange) -> Void] = []

    init(contacts: (any ContactService)?, presence: (any PresenceService)?) {
        self.contacts = contacts
        self.presence = presence
    }

    // MARK: Asking

    func hasRules(_ account: any Account) -> Bool {
        guard let book = account.state[RuleBook.self] else { return account.owner != nil }
        return !book.lists.isEmpty
    }

    func rules(of account: any Account, for session: (any Session)?) -> Rules? {
        guard let table = table(of: account, for: session) else { return nil }
        return Rules(table: table, account: account, contacts: contacts)
    }

    private func table(of account: any Account, for session: (any Session)?) -> RuleTable? {
        guard let book = account.state[RuleBook.self] else {
            // Of an account that is stored they should have been read.
            return account.owner == nil ? nil : .closed
        }
        guard !book.lists.isEmpty else { return nil }
        if let active = session?.state[ActiveList.self], let table = book.lists[active.name] { return table }
        return book.defaultTable
    }

    // MARK: Changing

    /// Calls `body` with each change, on the account's loop, after it is on disk and in force.
    public func watch(_ body: @escaping (RuleChange) -> Void) {
        watchers.append(body)
    }

    /// Changes the rules of an account, behind what is under way.
    ///
    /// - Parameters:
    ///   - work: says what is to change when its turn has come; nil: nothing.
    ///   - then: called once, when it is on disk and in force or was refused.
    public func change(
        _ account: any Account, _ work: @escaping (RuleBook) throws(StanzaError) -> RuleEdit?,
        then: @escaping (Result<Void, StanzaError>) -> Void
    ) {
        guard let owner = account.owner, let book = account.state[RuleBook.self] else {
            return then(.failure(.notAllowed))
        }
        do throws(StanzaError) {
            try book.inTurn { [self] in
                let edit: RuleEdit?
                do throws(StanzaError) {
                    edit = try work(book)
                } catch {
                    then(.failure(error))
                    return book.turnEnded()
                }
                guard let edit else {
                    then(.success(()))
                    return book.turnEnded()
                }
                let (home, write) = (account.kernel.home, Confined(RuleWrite(edit, book, account, self, then)))
                account.kernel.storage.submit(book.mutations(edit, owner)) { result in
                    home.perform { _ in write.value.ended(result) }
                }
            }
        } catch {
            then(.failure(error))
        }
    }

    fileprivate func make(_ edit: RuleEdit, _ book: RuleBook, _ account: any Account) {
        let before = book.defaultTable
        whileChanging(account) {
            book.make(edit)
            account.forEachSession { session in
                guard let active = session.state[ActiveList.self], book.lists[active.name] == nil else { return }
                session.state[ActiveList.self] = nil
            }
        }
        let change = RuleChange(account: account, edit: edit, before: before, after: book.defaultTable)
        for watcher in watchers { watcher(change) }
    }

    /// Has a session use this list of its account, or with nil the account's own choice (XEP-0016 §2.4). It holds at
    /// once, and nothing is stored.
    ///
    /// - Throws: `item-not-found` if there is no such list.
    public func activate(_ name: ExactString?, for session: any Session) throws(StanzaError) {
        let book = session.account.state[RuleBook.self]
        guard name.map({ book?.lists[$0] != nil }) ?? true else { throw .itemNotFound }
        whileChanging(session.account) { session.state[ActiveList.self] = name.map { ActiveList($0) } }
    }

    /// Whom each session sees, and who sees it, follows the change.
    private func whileChanging(_ account: any Account, _ body: () -> Void) {
        var before: [(session: any Session, rules: Rules?)] = []
        account.forEachSession { before.append(($0, rules(of: account, for: $0))) }
        body()
        for (session, old) in before {
            let new = rules(of: account, for: session)
            guard old?.table !== new?.table else { continue }
            presence?.rulesChanged(for: session, from: old, to: new)
        }
    }
}

/// A change on its way to the disk. On the account's loop.
private final class RuleWrite {
    private let edit: RuleEdit
    private let book: RuleBook
    private let account: any Account
    private let keeper: RuleKeeper
    private let then: (Result<Void, StanzaError>) -> Void

    init(
        _ edit: RuleEdit, _ book: RuleBook, _ account: any Account, _ keeper: RuleKeeper,
        _ then: @escaping (Result<Void, StanzaError>) -> Void
    ) {
        self.edit = edit
        self.book = book
        self.account = account
        self.keeper = keeper
        self.then = then
    }

    func ended(_ result: Result<[MutationOutcome], StorageError>) {
        if case .success = result {
            keeper.make(edit, book, account)
            then(.success(()))
        } else {
            then(.failure(.resourceConstraint))
        }
        book.turnEnded()
    }
}

/// A change of an account's rules that has been made.
public struct RuleChange {
    public let account: any Account
    public let edit: RuleEdit
    /// What held, and holds, where no session has chosen otherwise.
    public let before: RuleTable?
    public let after: RuleTable?
}
