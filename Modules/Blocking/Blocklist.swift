internal import ModuleKit

/// The blocklist of XEP-0191 as a view of a privacy list: its items that deny everything to one address (§5).
struct Blocklist {
    /// Ascending by their order.
    private let items: [PrivacyItem]

    init(_ table: RuleTable?) {
        items = table?.items ?? []
    }

    /// All of them, also those that items before them take the effect from.
    var listed: [JID] { items.compactMap(\.blocked) }

    /// Those that are blocked in truth: no item before lets anything pass.
    static func blocked(in table: RuleTable?, _ relation: (JID) -> RuleTable.Relation) -> [JID] {
        guard let table else { return [] }
        let addresses = table.items.compactMap(\.blocked)
        // The usual list has nothing that could let anything pass.
        guard table.items.contains(where: { !$0.isDenial }) else { return addresses }
        return addresses.filter { address in
            RuleKind.allCases.allSatisfy { kind in
                table.match(kind, address) { relation(address) }?.isDenial == true
            }
        }
    }

    /// The list with these addresses blocked before anything else is looked at (§5: they come first).
    func blocking(_ addresses: [JID]) -> [PrivacyItem] {
        let fresh = Set(addresses)
        let rest = items.filter { item in item.blocked.map { !fresh.contains($0) } ?? true }
        let first = rest.prefix { $0.blocked != nil }
        let new = addresses.unique.map { PrivacyItem(order: 0, .address($0), isDenial: true) }
        return Self.numbered(first + new + rest[first.endIndex...])
    }

    /// The list without these addresses; nil: without any.
    func unblocking(_ addresses: [JID]?) -> [PrivacyItem] {
        let gone = addresses.map { Set($0) }
        return items.filter { item in item.blocked.map { gone?.contains($0) == false } ?? true }
    }

    private static func numbered(_ items: some Sequence<PrivacyItem>) -> [PrivacyItem] {
        items.enumerated().map { index, item in
            var item = item
            item.order = UInt32(clamping: index + 1)
            return item
        }
    }

    /// A name for the list that the blocklist makes where there is none.
    static func freeName(in book: RuleBook) -> ExactString {
        var name = ExactString("blocklist")
        var number = 1
        while book.lists[name] != nil {
            number += 1
            name = ExactString("blocklist-\(number)")
        }
        return name
    }
}

extension [JID] {
    /// Each once, where it comes first.
    fileprivate var unique: [JID] {
        var seen: Set<JID> = []
        return filter { seen.insert($0).inserted }
    }
}
