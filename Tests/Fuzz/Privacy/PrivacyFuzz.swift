import FuzzSupport
import ModuleKit
import XML
import XMPPCore

@testable import Privacy

/// An element that may be a request about privacy lists, or else items as they are stored.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Input.bytes(start, count)
    guard bytes.first == UInt8(ascii: "<") else {
        if let items = PrivacyItem.items(stored: bytes) {
            // An address may have been written otherwise.
            check(PrivacyItem.items(stored: PrivacyItem.stored(items)) == items, "stored items read as themselves")
            decide(items)
        }
        return 0
    }
    guard let text = String(validating: bytes, as: UTF8.self),
        let tree = try? XMLTree(parsing: text, limits: .authenticated)
    else { return 0 }
    for isSet in [false, true] {
        guard let request = try? ListRequest(tree.root, isSet: isSet) else { continue }
        guard case .replace(_, let items) = request else { continue }
        check(isSet && !items.isEmpty, "only a set replaces a list")
        check(Set(items.map(\.order)).count == items.count, "orders are unique")
        check(PrivacyItem.items(stored: PrivacyItem.stored(items)) == items, "items are stored as they are")
        for item in items {
            let again = try? PrivacyItem(XMLTree(item.element).root)
            check(again == item, "\(item.element) reads as itself")
        }
        decide(items)
    }
    return 0
}

/// The item that is found is the one that a walk through the list finds.
private func decide(_ items: [PrivacyItem]) {
    let table = RuleTable(items)
    var addresses = [JID("x@example.net/y")!, JID("example.net")!]
    var groups: [String] = []
    for item in items {
        if case .address(let address) = item.subject { addresses.append(address) }
        if case .group(let name) = item.subject, groups.count < 3 { groups.append(name) }
    }
    for address in addresses.prefix(20) {
        for subscription in PrivacyItem.Subscription.allCases {
            let relation = RuleTable.Relation(subscription: subscription, groups: groups)
            for kind in RuleKind.allCases {
                let walked = table.items.first { $0.kinds.contains(.init(kind)) && concerns($0, address, relation) }
                check(table.match(kind, address) { relation } == walked, "\(kind) of \(address) in \(items)")
            }
        }
    }
}

private func concerns(_ item: PrivacyItem, _ address: JID, _ relation: RuleTable.Relation) -> Bool {
    switch item.subject {
    case .anybody: true
    case .group(let name): relation.groups.contains { $0.utf8.elementsEqual(name.utf8) }
    case .subscription(let subscription): subscription == relation.subscription
    case .address(let own):
        own == address || own.isBare && own.bare == address.bare || own.isDomain && own.domain == address.domain
    }
}
