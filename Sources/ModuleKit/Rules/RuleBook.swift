internal import XMPPCore

/// The privacy lists of one account (XEP-0016), and which one holds where a session has chosen none. What is blocked by
/// XEP-0191 is part of that list, so the two cannot disagree. On the account's loop.
public final class RuleBook: Weighed {
    /// By name.
    public private(set) var lists: [ExactString: RuleTable] = [:]
    public private(set) var defaultName: ExactString?
    /// Changes that wait for the one under way.
    private var waiting: [() -> Void] = []
    private var isBusy = false

    private static let store: StoreName = "privacy"
    private static let defaultKey = "default"
    private static let listPrefix = "list/"
    private static let mostWaiting = 100

    init(rows: [(key: String, value: [UInt8])]) {
        for (key, value) in rows {
            if key == Self.defaultKey {
                defaultName = ExactString(String(decoding: value, as: UTF8.self))
            } else if key.utf8.starts(with: Self.listPrefix.utf8) {
                let name = String(Substring(key.utf8.dropFirst(Self.listPrefix.utf8.count)))
                lists[ExactString(name)] = PrivacyItem.items(stored: value).map { RuleTable($0) } ?? .closed
            }
        }
        // A list that should hold and is not there holds back everything.
        if let defaultName, lists[defaultName] == nil { lists[defaultName] = .closed }
    }

    static func read(
        _ snapshot: any StorageSnapshot, _ owner: OwnerID
    ) throws(StorageError) -> Moved<RuleBook> {
        Moved(RuleBook(rows: try snapshot.entries(store, owner)))
    }

    public var byteCount: Int { lists.reduce(64) { $0 + 64 + $1.key.string.utf8.count + $1.value.byteCount } }

    public var defaultTable: RuleTable? { defaultName.flatMap { lists[$0] } }

    // MARK: Changing

    /// Has the change made, behind the one under way.
    func inTurn(_ change: @escaping () -> Void) throws(StanzaError) {
        guard isBusy else {
            isBusy = true
            return change()
        }
        guard waiting.count < Self.mostWaiting else { throw .resourceConstraint }
        waiting.append(change)
    }

    func turnEnded() {
        guard !waiting.isEmpty else { return isBusy = false }
        waiting.removeFirst()()
    }

    /// The rows of a change.
    func mutations(_ edit: RuleEdit, _ owner: OwnerID) -> [Mutation] {
        var mutations = edit.lists.map { name, items -> Mutation in
            let key = Self.listPrefix + name.string
            return items.map { .put(Self.store, owner, key: key, value: PrivacyItem.stored($0)) }
                ?? .delete(Self.store, owner, key: key)
        }
        switch edit.choice {
        case .same: break
        case .none: mutations.append(.delete(Self.store, owner, key: Self.defaultKey))
        case .list(let name):
            mutations.append(.put(Self.store, owner, key: Self.defaultKey, value: Array(name.string.utf8)))
        }
        return mutations + edit.rows
    }

    func make(_ edit: RuleEdit) {
        for (name, items) in edit.lists { lists[name] = items.map { RuleTable($0) } }
        switch edit.choice {
        case .same: break
        case .none: defaultName = nil
        case .list(let name): defaultName = name
        }
    }

    /// Bytes of all lists as they are stored, once this is done.
    public func storedBytes(after edit: RuleEdit) -> Int {
        func size(_ name: ExactString, _ items: [PrivacyItem]) -> Int {
            name.string.utf8.count + PrivacyItem.stored(items).count
        }
        let kept = lists.filter { edit.lists[$0.key] == nil }.reduce(0) { $0 + size($1.key, $1.value.items) }
        return edit.lists.reduce(kept) { $0 + ($1.value.map { [name = $1.key] in size(name, $0) } ?? 0) }
    }
}

/// One change of an account's rules, worked out and not made yet.
public struct RuleEdit: Sendable {
    /// Which list is to hold where a session has chosen none.
    public enum Choice: Hashable, Sendable {
        case same
        case none
        case list(ExactString)
    }

    /// The lists that change, by name; nil: the list goes.
    public var lists: [ExactString: [PrivacyItem]?]
    public var choice: Choice
    /// Everything that was blocked is so no longer, at one word (XEP-0191 §3.5).
    public var unblocksAll = false
    /// Rows of others that belong in the batch.
    public var rows: [Mutation] = []

    public init(lists: [ExactString: [PrivacyItem]?] = [:], choice: Choice = .same) {
        self.lists = lists
        self.choice = choice
    }
}

/// The list that a session has chosen for itself (XEP-0016 §2.4); for as long as it lives, whatever is reloaded.
public final class ActiveList {
    public let name: ExactString

    init(_ name: ExactString) {
        self.name = name
    }
}
