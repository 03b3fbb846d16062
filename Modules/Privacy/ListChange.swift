internal import ModuleKit

struct ListLimits: Hashable, Sendable {
    var lists: Int
    /// Of one list.
    var items: Int
    /// Of all lists together, as they are stored.
    var bytes: Int
}

/// A change of the lists that a client asks for, checked against what there is when its turn has come.
struct ListChange {
    private let request: ListRequest
    private let session: any Session
    private let limits: ListLimits
    private let contacts: (any ContactService)?

    init(_ request: ListRequest, by session: any Session, _ limits: ListLimits, _ contacts: (any ContactService)?) {
        self.request = request
        self.session = session
        self.limits = limits
        self.contacts = contacts
    }

    /// Nil: nothing changes.
    func edit(_ book: RuleBook) throws(StanzaError) -> RuleEdit? {
        switch request {
        case .replace(let name, let items): return try replace(name, items, book)
        case .remove(let name): return try remove(name, book)
        case .setDefault(let name): return try setDefault(name, book)
        case .names, .list, .activate: return nil
        }
    }

    /// §2.6, §2.7: the whole list, whoever uses it.
    private func replace(_ name: ExactString, _ items: [PrivacyItem], _ book: RuleBook) throws(StanzaError) -> RuleEdit
    {
        let old = book.lists[name]
        guard items.count <= max(limits.items, old?.items.count ?? 0) else {
            throw .resourceConstraint.saying("the list is too long")
        }
        guard old != nil || book.lists.count < limits.lists else {
            throw .resourceConstraint.saying("there are too many lists")
        }
        // §2.1: a group must be one of the roster.
        for case .group(let group) in items.map(\.subject)
        where contacts?.hasGroup(group, on: session.account) != true {
            throw .itemNotFound.saying("there is no such group")
        }
        let edit = RuleEdit(lists: [name: items])
        guard book.storedBytes(after: edit) <= max(limits.bytes, book.storedBytes(after: RuleEdit())) else {
            throw .resourceConstraint.saying("the lists are too large")
        }
        return edit
    }

    /// §2.8.
    private func remove(_ name: ExactString, _ book: RuleBook) throws(StanzaError) -> RuleEdit {
        guard book.lists[name] != nil else { throw .itemNotFound }
        guard !others({ ($0.state[ActiveList.self]?.name ?? book.defaultName) == name }) else { throw .conflict }
        return RuleEdit(lists: [name: nil], choice: book.defaultName == name ? .none : .same)
    }

    /// §2.5.
    private func setDefault(_ name: ExactString?, _ book: RuleBook) throws(StanzaError) -> RuleEdit? {
        if let name, book.lists[name] == nil { throw .itemNotFound }
        guard name != book.defaultName else { return nil }
        // This one holds for sessions that have chosen no list.
        if book.defaultName != nil, others({ $0.state[ActiveList.self] == nil }) { throw .conflict }
        return RuleEdit(choice: name.map { .list($0) } ?? .none)
    }

    /// Whether this is true of another session.
    private func others(_ isTrue: (any Session) -> Bool) -> Bool {
        var found = false
        session.account.forEachSession { other in
            if other !== session, isTrue(other) { found = true }
        }
        return found
    }
}
