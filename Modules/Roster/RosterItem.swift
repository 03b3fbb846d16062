internal import ModuleKit

/// One contact of an account (RFC 6121 §2.1.2), with the requests that wait.
struct RosterItem: Hashable, Sendable {
    enum Subscription: String, Hashable, Sendable {
        case none, to, from, both

        var hasTo: Bool { self == .to || self == .both }
        var hasFrom: Bool { self == .from || self == .both }

        init(to: Bool, from: Bool) {
            self = to ? (from ? .both : .to) : (from ? .from : .none)
        }
    }

    var contact: BareJID
    var name: String?
    var groups: [String] = []
    var subscription = Subscription.none
    /// We asked and they have not answered (`ask='subscribe'`).
    var isAsking = false
    /// They asked and we have not answered: their stanza, to be shown again. Not part of the roster that clients see.
    var request: [UInt8]?
    /// Only a request or a past one, never an item of the user's.
    var isHidden = false

    init(_ contact: BareJID) {
        self.contact = contact
    }

    /// As clients see it.
    var element: Element {
        var item = Element("item", .roster)
        item[attribute: "jid"] = contact.description
        item[attribute: "name"] = name
        item[attribute: "subscription"] = subscription.rawValue
        if isAsking { item[attribute: "ask"] = "subscribe" }
        for group in groups {
            var child = Element("group", .roster)
            child.appendText(group)
            item.append(child)
        }
        return item
    }

    var removal: Element {
        var item = Element("item", .roster)
        item[attribute: "jid"] = contact.description
        item[attribute: "subscription"] = "remove"
        return item
    }

    // MARK: On disk

    /// Fields apart by U+0000, which no field can hold: name, subscription, flags, count of groups, groups; the request
    /// behind them.
    var stored: [UInt8] {
        let flags = (isAsking ? "a" : "") + (isHidden ? "h" : "") + (name == nil ? "n" : "")
        let fields = [name ?? "", subscription.rawValue, flags, String(groups.count)] + groups
        return Array(fields.joined(separator: "\0").utf8) + [0] + (request ?? [])
    }

    init?(contact: String, stored bytes: [UInt8]) {
        guard let address = BareJID(contact) else { return nil }
        self.init(address)
        var fields = bytes.split(separator: 0, maxSplits: 4, omittingEmptySubsequences: false)
        guard fields.count == 5, let subscription = Subscription(rawValue: String(decoding: fields[1], as: UTF8.self)),
            let count = Int(String(decoding: fields[3], as: UTF8.self)), count >= 0, count <= bytes.count
        else { return nil }
        let flags = String(decoding: fields[2], as: UTF8.self)
        name = flags.contains("n") ? nil : String(decoding: fields[0], as: UTF8.self)
        self.subscription = subscription
        isAsking = flags.contains("a")
        isHidden = flags.contains("h")
        fields = fields[4].split(separator: 0, maxSplits: count, omittingEmptySubsequences: false)
        guard fields.count == count + 1 else { return nil }
        groups = fields.prefix(count).map { String(decoding: $0, as: UTF8.self) }
        request = fields[count].isEmpty ? nil : Array(fields[count])
    }
}

/// An account's roster in memory; on the account's loop.
final class Roster {
    var items: [BareJID: RosterItem] = [:]

    init(_ items: [RosterItem]) {
        for item in items { self.items[item.contact] = item }
    }
}

/// A session that asked for the roster: it gets pushes (RFC 6121 §2.1.6).
final class RosterInterest {}
