public import XMPPCore

/// A privacy list made ready: which of its items decides is found without walking it, however long it is. Never changes;
/// another one takes its place.
public final class RuleTable: Sendable {
    /// What an account's roster says of somebody.
    public struct Relation: Hashable, Sendable {
        public var subscription: PrivacyItem.Subscription
        public var groups: [String]

        public init(subscription: PrivacyItem.Subscription, groups: [String]) {
            self.subscription = subscription
            self.groups = groups
        }
    }

    /// By kind, the place of the first item of a subject; `none` where it has none.
    private typealias Places = SIMD8<UInt32>
    private static let nowhere = Places(repeating: .max)

    /// Ascending by their order.
    public let items: [PrivacyItem]
    /// Bytes of memory, roughly.
    public let byteCount: Int
    private let addresses: [JID: Places]
    private let domains: [String: Places]
    private let groups: [ExactString: Places]
    private let subscriptions: [PrivacyItem.Subscription: Places]
    private let anybody: Places

    public init(_ items: [PrivacyItem]) {
        let items = items.sorted { $0.order < $1.order }
        var addresses: [JID: Places] = [:]
        var domains: [String: Places] = [:]
        var groups: [ExactString: Places] = [:]
        var subscriptions: [PrivacyItem.Subscription: Places] = [:]
        var anybody = Self.nowhere
        for (index, item) in items.enumerated() {
            switch item.subject {
            case .anybody: Self.note(index, item, &anybody)
            case .address(let address):
                if address.isDomain {
                    Self.note(index, item, &domains[address.domain, default: Self.nowhere])
                } else {
                    Self.note(index, item, &addresses[address, default: Self.nowhere])
                }
            case .group(let name): Self.note(index, item, &groups[ExactString(name), default: Self.nowhere])
            case .subscription(let subscription):
                Self.note(index, item, &subscriptions[subscription, default: Self.nowhere])
            }
        }
        self.items = items
        self.addresses = addresses
        self.domains = domains
        self.groups = groups
        self.subscriptions = subscriptions
        self.anybody = anybody
        byteCount = 256 + items.reduce(0) { $0 + 160 + $1.subject.byteCount }
    }

    private static func note(_ index: Int, _ item: PrivacyItem, _ places: inout Places) {
        for kind in RuleKind.allCases
        where item.kinds.contains(PrivacyItem.Kinds(kind)) && places[kind.rawValue] == .max {
            places[kind.rawValue] = UInt32(clamping: index)
        }
    }

    /// Nobody passes: for a list that cannot be read.
    public static let closed = RuleTable([PrivacyItem(order: 0, .anybody, isDenial: true)])

    /// The item that decides (XEP-0016 §2.2): the first one that concerns this kind and this address. Nil: no item
    /// does, and the stanza passes.
    ///
    /// A full address is concerned by items of itself, of its bare address and of its domain (§2.1); `room/nick` is a
    /// full address like others, so the occupants of rooms are found by that.
    ///
    /// - Parameter relation: asked for if it matters.
    public func match(_ kind: RuleKind, _ address: JID, _ relation: () -> Relation) -> PrivacyItem? {
        var places = anybody
        func look(_ found: Places?) {
            if let found { places = pointwiseMin(places, found) }
        }
        if !domains.isEmpty { look(domains[address.domain]) }
        if !addresses.isEmpty {
            look(addresses[JID(address.bare)])
            if !address.isBare { look(addresses[address]) }
        }
        if !subscriptions.isEmpty || !groups.isEmpty {
            let relation = relation()
            look(subscriptions[relation.subscription])
            for group in relation.groups { look(groups[ExactString(group)]) }
        }
        let place = Int(places[kind.rawValue])
        return place < items.count ? items[place] : nil
    }
}

extension PrivacyItem.Subject {
    fileprivate var byteCount: Int {
        switch self {
        case .anybody, .subscription: 0
        case .address(let address):
            64 + address.local.utf8.count + address.domain.utf8.count + address.resource.utf8.count
        case .group(let name): name.utf8.count
        }
    }
}
