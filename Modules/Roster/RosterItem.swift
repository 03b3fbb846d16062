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
    /// They may see us as soon as they ask (`approved='true'`, RFC 6121 §3.4).
    var isApproved = false
    /// They asked and we have not answered: their stanza, to be shown again. Not part of the roster that clients see.
    var request: [UInt8]?
    /// No item of the user's: only a request, or what is left of an item that clients may still have.
    var isHidden = false
    /// Of the roster when clients were told of this item last (RFC 6121 §2.6); 0: never.
    var revision: Int64 = 0

    init(_ contact: BareJID) {
        self.contact = contact
    }

    /// There is something to be kept of it, even if the user has no such item.
    var isNeeded: Bool { !isHidden || request != nil }

    /// As clients see it; what is not in the roster they see as removed.
    var element: Element {
        var item = Element("item", .roster)
        item[attribute: "jid"] = contact.description
        guard !isHidden else {
            item[attribute: "subscription"] = "remove"
            return item
        }
        item[attribute: "name"] = name
        item[attribute: "subscription"] = subscription.rawValue
        if isAsking { item[attribute: "ask"] = "subscribe" }
        if isApproved { item[attribute: "approved"] = "true" }
        for group in groups {
            var child = Element("group", .roster)
            child.appendText(group)
            item.append(child)
        }
        return item
    }

    // MARK: Stored

    private enum Flag {
        static let asking = "a"
        static let approved = "p"
        static let hidden = "h"
        static let noName = "n"
    }

    /// Fields apart by U+0000, which no field can hold: name, subscription, flags with the revision, count of groups,
    /// groups; the request behind them.
    var stored: [UInt8] {
        var flags = isAsking ? Flag.asking : ""
        if isApproved { flags += Flag.approved }
        if isHidden { flags += Flag.hidden }
        if name == nil { flags += Flag.noName }
        if revision != 0 { flags += String(revision) }
        let fields = [name ?? "", subscription.rawValue, flags, String(groups.count)] + groups
        return Array(fields.joined(separator: "\0").utf8) + [0] + (request ?? [])
    }

    /// Nil: not what `stored` writes.
    init?(_ contact: BareJID, stored bytes: ArraySlice<UInt8>) {
        self.init(contact)
        let parts = bytes.split(separator: 0, maxSplits: 4, omittingEmptySubsequences: false)
        guard parts.count == 5, let subscription = Subscription(rawValue: String(decoding: parts[1], as: UTF8.self)),
            let count = Int(String(decoding: parts[3], as: UTF8.self)), (0...bytes.count).contains(count)
        else { return nil }
        let flags = String(decoding: parts[2], as: UTF8.self)
        name = flags.contains(Flag.noName) ? nil : String(decoding: parts[0], as: UTF8.self)
        self.subscription = subscription
        isAsking = flags.contains(Flag.asking)
        isApproved = flags.contains(Flag.approved)
        isHidden = flags.contains(Flag.hidden)
        revision = Int64(flags.filter(\.isNumber)) ?? 0
        let rest = parts[4].split(separator: 0, maxSplits: count, omittingEmptySubsequences: false)
        guard rest.count == count + 1 else { return nil }
        groups = rest.prefix(count).map { String(decoding: $0, as: UTF8.self) }
        request = rest[count].isEmpty ? nil : Array(rest[count])
    }
}
