import ModuleKit
import ModuleTesting
import Testing

/// Rules without a server: which item decides, and what is written of them.
@Suite struct RuleTableTests {
    private static let addresses = [
        "a@x", "a@x/1", "a@x/2", "b@x", "b@x/1", "x", "x/1", "c@y", "room@y/a", "room@y/b", "room@y", "z.x", "a@z.x",
    ]
    private static let groups = ["friends", "work", ""]

    private static func item(_ order: Int, _ generator: inout SeededGenerator) -> PrivacyItem {
        let subject: PrivacyItem.Subject =
            switch generator.next() % 8 {
            case 0: .anybody
            case 1: .group(groups[Int(generator.next() % 3)])
            case 2:
                .subscription(PrivacyItem.Subscription.allCases[Int(generator.next() % 4)])
            default: .address(JID(addresses[Int(generator.next() % UInt64(addresses.count))])!)
            }
        let kinds =
            generator.next() % 3 == 0 ? PrivacyItem.Kinds.all : .init(rawValue: UInt8(generator.next() % 31) + 1)
        return PrivacyItem(
            order: UInt32(order), subject, isDenial: generator.next() % 2 == 0, kinds: kinds)
    }

    private static func concerns(
        _ subject: PrivacyItem.Subject, _ address: JID, _ relation: RuleTable.Relation
    ) -> Bool {
        switch subject {
        case .anybody: true
        case .group(let name): relation.groups.contains(name)
        case .subscription(let subscription): subscription == relation.subscription
        // XEP-0016 §2.1, in its words.
        case .address(let item):
            if !item.local.isEmpty {
                item.isBare ? item.bare == address.bare : item == address
            } else {
                item.isBare ? item.domain == address.domain : item == address
            }
        }
    }

    /// The list walked from its first item to its last.
    private static func walk(
        _ items: [PrivacyItem], _ kind: RuleKind, _ address: JID, _ relation: RuleTable.Relation
    ) -> PrivacyItem? {
        items.sorted { $0.order < $1.order }.first {
            $0.kinds.contains(.init(kind)) && concerns($0.subject, address, relation)
        }
    }

    @Test(arguments: 1...50) func `the item found is the one that a walk through the list finds`(_ seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<20 {
            var orders = Array(0..<Int(generator.next() % 12))
            orders.shuffle(using: &generator)
            let items = orders.map { Self.item($0, &generator) }
            let table = RuleTable(items)
            for address in Self.addresses.map({ JID($0)! }) {
                let relation = RuleTable.Relation(
                    subscription: PrivacyItem.Subscription.allCases[Int(generator.next() % 4)],
                    groups: Self.groups.filter { _ in generator.next() % 2 == 0 })
                for kind in RuleKind.allCases {
                    let found = table.match(kind, address) { relation }
                    #expect(found == Self.walk(items, kind, address, relation), "seed \(seed): \(kind) \(address)")
                }
            }
            #expect(PrivacyItem.items(stored: PrivacyItem.stored(items)) == items)
        }
    }

    @Test func `a list that is not as it was written is none`() {
        let whole = PrivacyItem.stored([
            PrivacyItem(order: 1, .address(JID("a@b/ü \u{1F339}")!), isDenial: true),
            PrivacyItem(order: 2, .group("g"), isDenial: false, kinds: .init(.message)),
        ])
        #expect(PrivacyItem.items(stored: whole)?.count == 2)
        #expect(PrivacyItem.items(stored: []) == [])
        for length in 1..<whole.count {
            let items = PrivacyItem.items(stored: Array(whole.prefix(length)))
            // Only where an item ends may it be cut.
            #expect(items == nil || items?.count == 1, "\(length)")
        }
        for text in [
            "x\0a*\0\0", "1\0b*\0\0", "1\0a?\0\0", "1\0a*z\0\0", "1\0a@\0@\0", "1\0as\0all\0", "4294967296\0a*\0\0",
        ] {
            #expect(PrivacyItem.items(stored: Array(text.utf8)) == nil)
        }
    }

    @Test func `what a kind of stanza is depends on its way (XEP-0016 §2.9 to §2.12)`() throws {
        func stanza(_ name: String, _ type: String) -> Stanza { Stanza(Element(name, .client, ["type": type])) }
        let expected: [(name: String, type: String, incoming: RuleKind, outgoing: RuleKind)] = [
            ("message", "chat", .message, .other), ("message", "error", .message, .other),
            ("iq", "get", .iq, .other), ("iq", "result", .iq, .other),
            ("presence", "", .presenceIn, .presenceOut), ("presence", "unavailable", .presenceIn, .presenceOut),
            ("presence", "subscribe", .other, .other), ("presence", "unsubscribed", .other, .other),
            ("presence", "probe", .other, .other), ("presence", "error", .other, .other),
        ]
        for (name, type, incoming, outgoing) in expected {
            #expect(RuleKind(incoming: stanza(name, type)) == incoming, "\(name) \(type)")
            #expect(RuleKind(outgoing: stanza(name, type)) == outgoing, "\(name) \(type)")
        }
    }
}
