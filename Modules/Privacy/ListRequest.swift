internal import ModuleKit

/// What a client asks of its privacy lists (XEP-0016 §2.3 to §2.8), checked as far as it can be without them.
enum ListRequest: Equatable {
    // Get.
    case names
    case list(ExactString)
    // Set; nil: none.
    case activate(ExactString?)
    case setDefault(ExactString?)
    case replace(ExactString, [PrivacyItem])
    case remove(ExactString)

    /// - Throws: `bad-request` for more or something else than one can ask, `jid-malformed`, `not-acceptable` for a name
    ///   that is too long.
    init(_ query: ElementView, isSet: Bool) throws(StanzaError) {
        var children = query.children
        guard let child = children.next() else {
            if isSet { throw .badRequest }
            self = .names
            return
        }
        // §2.1, §2.3: one thing at a time.
        guard children.next() == nil else { throw .badRequest }
        let name = child.attribute("name").map { ExactString($0) }
        guard (name?.string.utf8.count ?? 0) <= Self.longestName else {
            throw .notAcceptable.saying("the name is too long")
        }
        if child.isNamed("list", .privacy) {
            guard let name else { throw .badRequest }
            if isSet {
                let items = try Self.items(of: child)
                self = items.isEmpty ? .remove(name) : .replace(name, items)
            } else {
                self = .list(name)
            }
        } else if isSet, child.isNamed("active", .privacy) {
            self = .activate(name)
        } else if isSet, child.isNamed("default", .privacy) {
            self = .setDefault(name)
        } else {
            throw .badRequest
        }
    }

    /// Bytes.
    private static let longestName = 255

    private static func items(of list: ElementView) throws(StanzaError) -> [PrivacyItem] {
        var items: [PrivacyItem] = []
        var orders: Set<UInt32> = []
        for child in list.children {
            guard child.isNamed("item", .privacy) else { throw .badRequest }
            let item = try PrivacyItem(child)
            // §2.1: unique among all items of the list.
            guard orders.insert(item.order).inserted else { throw .badRequest.saying("two items of one order") }
            items.append(item)
        }
        return items
    }
}

extension PrivacyItem {
    private static let names: [(name: StaticString, kind: RuleKind)] = [
        ("message", .message), ("iq", .iq), ("presence-in", .presenceIn), ("presence-out", .presenceOut),
    ]

    init(_ view: ElementView) throws(StanzaError) {
        guard let order = view.attribute("order").flatMap({ UInt32($0) }) else { throw .badRequest }
        let isDenial: Bool
        switch view.attribute("action") {
        case "allow": isDenial = false
        case "deny": isDenial = true
        default: throw .badRequest
        }
        self.init(
            order: order, try Self.subject(view.attribute("type"), view.attribute("value")), isDenial: isDenial,
            kinds: try Self.kinds(of: view))
    }

    private static func subject(_ type: String?, _ value: String?) throws(StanzaError) -> Subject {
        guard let type else { return .anybody }
        guard let value else { throw .badRequest }
        switch type {
        case "jid":
            guard let address = JID(value) else { throw .jidMalformed }
            return .address(address)
        case "group": return .group(value)
        case "subscription":
            guard let subscription = Subscription(rawValue: value) else { throw .badRequest }
            return .subscription(subscription)
        default: throw .badRequest
        }
    }

    /// A kind that is not known is refused: without it the item would mean more than it says.
    private static func kinds(of view: ElementView) throws(StanzaError) -> Kinds {
        var kinds: Kinds = []
        for child in view.children {
            guard let (_, kind) = names.first(where: { child.isNamed($0.name, .privacy) }) else { throw .badRequest }
            kinds.insert(Kinds(kind))
        }
        return kinds.isEmpty ? .all : kinds
    }

    var element: Element {
        var element = Element("item", .privacy)
        switch subject {
        case .anybody: break
        case .address(let address): (element[attribute: "type"], element[attribute: "value"]) = ("jid", "\(address)")
        case .group(let name): (element[attribute: "type"], element[attribute: "value"]) = ("group", name)
        case .subscription(let subscription):
            (element[attribute: "type"], element[attribute: "value"]) = ("subscription", subscription.rawValue)
        }
        element[attribute: "action"] = isDenial ? "deny" : "allow"
        element[attribute: "order"] = String(order)
        if kinds != .all {
            for (name, kind) in Self.names where kinds.contains(Kinds(kind)) {
                element.append(Element("\(name)", .privacy))
            }
        }
        return element
    }
}

extension Namespace {
    static let privacy: Namespace = "jabber:iq:privacy"
}
