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

    /// Bytes of the name and the groups, which the user chooses.
    var ownText: Int { groups.reduce(name?.utf8.count ?? 0) { $0 + $1.utf8.count + 1 } }

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

    /// Fields apart by U+0000, which no field can hold: name, subscription, flags with the revision, count of groups,
    /// groups; the request behind them.
    var stored: [UInt8] {
        var flags = isAsking ? "a" : ""
        if isApproved { flags += "p" }
        if isHidden { flags += "h" }
        if name == nil { flags += "n" }
        if revision != 0 { flags += String(revision) }
        let fields = [name ?? "", subscription.rawValue, flags, String(groups.count)] + groups
        return Array(fields.joined(separator: "\0").utf8) + [0] + (request ?? [])
    }

    /// Nil: not what `stored` writes.
    init?(_ contact: BareJID, stored bytes: UnsafeBufferPointer<UInt8>) {
        var fields = RosterFields(bytes)
        guard let glance = RosterGlance(&fields), let count = fields.next().flatMap(RosterFields.number) else {
            return nil
        }
        self.init(contact)
        name = glance.hasName ? String(decoding: glance.name, as: UTF8.self) : nil
        subscription = glance.subscription
        isAsking = glance.isAsking
        isApproved = glance.isApproved
        isHidden = glance.isHidden
        revision = glance.revision
        for _ in 0..<count {
            guard let group = fields.next() else { return nil }
            groups.append(String(decoding: group, as: UTF8.self))
        }
        request = fields.rest.isEmpty ? nil : Array(fields.rest)
    }
}

/// What is known of a stored item without making strings of it.
struct RosterGlance {
    let name: Slice<UnsafeBufferPointer<UInt8>>
    let subscription: RosterItem.Subscription
    private(set) var isAsking = false
    private(set) var isApproved = false
    private(set) var isHidden = false
    private(set) var hasName = true
    private(set) var revision: Int64 = 0

    /// Takes the first three fields.
    init?(_ fields: inout RosterFields) {
        guard let name = fields.next(), let subscription = fields.next(), let flags = fields.next() else { return nil }
        self.name = name
        switch subscription.count {
        case 2: self.subscription = .to
        // `none`, `from` and `both` differ in their first letter.
        case 4:
            switch subscription.first {
            case UInt8(ascii: "f"): self.subscription = .from
            case UInt8(ascii: "b"): self.subscription = .both
            case UInt8(ascii: "n"): self.subscription = .none
            default: return nil
            }
        default: return nil
        }
        for flag in flags {
            switch flag {
            case UInt8(ascii: "a"): isAsking = true
            case UInt8(ascii: "p"): isApproved = true
            case UInt8(ascii: "h"): isHidden = true
            case UInt8(ascii: "n"): hasName = false
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                revision = revision &* 10 &+ Int64(flag - UInt8(ascii: "0"))
            default: return nil
            }
        }
    }
}

/// Fields with U+0000 behind each.
struct RosterFields {
    private(set) var rest: Slice<UnsafeBufferPointer<UInt8>>

    init(_ bytes: UnsafeBufferPointer<UInt8>) {
        rest = bytes[...]
    }

    /// Nil: there is none.
    mutating func next() -> Slice<UnsafeBufferPointer<UInt8>>? {
        guard let end = rest.firstIndex(of: 0) else { return nil }
        defer { rest = rest[(end + 1)...] }
        return rest[..<end]
    }

    /// Nil: not a number, or more than could ever follow.
    static func number(_ digits: Slice<UnsafeBufferPointer<UInt8>>) -> Int? {
        guard (1...5).contains(digits.count) else { return nil }
        return Int(String(decoding: digits, as: UTF8.self))
    }
}
