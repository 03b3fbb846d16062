public import XMPPCore

/// What a rule can tell apart (XEP-0016 §2.1): what comes in by its kind, and of what goes out only presence.
public enum RuleKind: Int, CaseIterable, Sendable {
    case message, iq, presenceIn, presenceOut
    /// All the rest, which only a rule for everything concerns: what goes out but presence, and what is said of
    /// subscriptions (§2.12).
    case other

    /// Of a stanza for the account.
    public init(incoming stanza: Stanza) {
        switch (stanza.kind, stanza.type) {
        case (.message, _): self = .message
        case (.iq, _): self = .iq
        case (.presence, .available), (.presence, .unavailable): self = .presenceIn
        default: self = .other
        }
    }

    /// Of a stanza that the account sends.
    public init(outgoing stanza: Stanza) {
        switch (stanza.kind, stanza.type) {
        case (.presence, .available), (.presence, .unavailable): self = .presenceOut
        default: self = .other
        }
    }
}

/// One rule of a privacy list (XEP-0016 §2.1).
public struct PrivacyItem: Hashable, Sendable {
    /// Whom it concerns.
    public enum Subject: Hashable, Sendable {
        case anybody
        case address(JID)
        /// Contacts in this group of the roster.
        case group(String)
        case subscription(Subscription)
    }

    public enum Subscription: String, CaseIterable, Sendable {
        /// Also whoever is not in the roster.
        case none
        case to, from, both

        public init(to: Bool, from: Bool) {
            self = to ? (from ? .both : .to) : (from ? .from : .none)
        }
    }

    public struct Kinds: OptionSet, Hashable, Sendable {
        public let rawValue: UInt8

        public init(rawValue: UInt8) {
            self.rawValue = rawValue
        }

        public init(_ kind: RuleKind) {
            self.init(rawValue: 1 << UInt8(kind.rawValue))
        }

        /// More than the kinds that have a name, all of them together.
        public static let all = Kinds(RuleKind.allCases.map { Kinds($0) })
    }

    /// Its place; no two items of a list have the same.
    public var order: UInt32
    public var subject: Subject
    public var isDenial: Bool
    public var kinds: Kinds

    public init(order: UInt32, _ subject: Subject, isDenial: Bool, kinds: Kinds = .all) {
        self.order = order
        self.subject = subject
        self.isDenial = isDenial
        self.kinds = kinds
    }

    /// The address that it blocks in the sense of XEP-0191 §5; nil: it does something else.
    public var blocked: JID? {
        guard isDenial, kinds == .all, case .address(let address) = subject else { return nil }
        return address
    }
}

// MARK: Stored

extension PrivacyItem {
    private static let marks: [(kind: RuleKind, mark: Character)] = [
        (.message, "m"), (.iq, "q"), (.presenceIn, "i"), (.presenceOut, "o"), (.other, "x"),
    ]

    /// Order, marks and value, with U+0000 behind each, which no text of a stanza can hold.
    private var stored: String {
        let (mark, value) =
            switch subject {
            case .anybody: ("*", "")
            case .address(let address): ("@", address.description)
            case .group(let name): ("g", name)
            case .subscription(let subscription): ("s", subscription.rawValue)
            }
        let kinds = Self.marks.filter { self.kinds.contains(Kinds($0.kind)) }.map(\.mark)
        return "\(order)\0\(isDenial ? "d" : "a")\(mark)\(String(kinds))\0\(value)\0"
    }

    private init?(order: Substring, marks: Substring, value: Substring) {
        guard let order = UInt32(order), let action = marks.first, action == "a" || action == "d" else { return nil }
        var subject = Subject.anybody
        switch marks.dropFirst().first {
        case "*": break
        case "g": subject = .group(String(value))
        case "@":
            guard let address = JID(String(value)) else { return nil }
            subject = .address(address)
        case "s":
            guard let subscription = Subscription(rawValue: String(value)) else { return nil }
            subject = .subscription(subscription)
        default: return nil
        }
        var kinds: Kinds = []
        for mark in marks.dropFirst(2) {
            guard let kind = Self.marks.first(where: { $0.mark == mark })?.kind else { return nil }
            kinds.insert(Kinds(kind))
        }
        self.init(order: order, subject, isDenial: action == "d", kinds: kinds)
    }

    public static func stored(_ items: [PrivacyItem]) -> [UInt8] {
        Array(items.map(\.stored).joined().utf8)
    }

    /// Nil: not what `stored` makes.
    public static func items(stored bytes: [UInt8]) -> [PrivacyItem]? {
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: "\0", omittingEmptySubsequences: false)
        // Behind the last field there is nothing.
        guard fields.count % 3 == 1, fields.last?.isEmpty == true else { return nil }
        var items: [PrivacyItem] = []
        for start in stride(from: 0, to: fields.count - 1, by: 3) {
            guard let item = PrivacyItem(order: fields[start], marks: fields[start + 1], value: fields[start + 2])
            else { return nil }
            items.append(item)
        }
        return items
    }
}
