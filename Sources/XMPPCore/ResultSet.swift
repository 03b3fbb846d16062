public import XML

/// The part of a list that a request asks for (XEP-0059 §2). Ids are opaque to those who ask.
public struct ResultSetRequest: Hashable, Sendable {
    /// Most items wanted; 0: only how many there are. Nil: as many as the server likes to send.
    public var max: Int?
    /// Items behind this one.
    public var after: String?
    /// Items in front of this one.
    public var before: String?
    /// The last of the items in front of `before` or, without one, of all.
    public var isBackward: Bool
    /// Items from this place on, counted from 0 (XEP-0059 §2.4).
    public var index: Int?

    public init(
        max: Int? = nil, after: String? = nil, before: String? = nil, isBackward: Bool = false, index: Int? = nil
    ) {
        self.max = max
        self.after = after
        self.before = before
        self.isBackward = isBackward
        self.index = index
    }

    /// Nil: the element has no `<set/>`.
    ///
    /// - Throws: `bad-request` for a number that is none.
    public init?(in parent: ElementView) throws(StanzaError) {
        guard let set = parent.first("set", .resultSets) else { return nil }
        self.init()
        max = try Self.number("max", set)
        index = try Self.number("index", set)
        after = Self.text("after", set)
        if set.first("before", .resultSets) != nil {
            isBackward = true
            before = Self.text("before", set)
        }
    }

    /// Nil also for one without text.
    private static func text(_ name: StaticString, _ set: ElementView) -> String? {
        guard let text = set.first(name, .resultSets)?.text, !text.isEmpty else { return nil }
        return text
    }

    private static func number(_ name: StaticString, _ set: ElementView) throws(StanzaError) -> Int? {
        guard let text = text(name, set) else { return nil }
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            throw .badRequest.saying("\(name) is no number")
        }
        // More than there can be is as good as all.
        return text.utf8.count < 10 ? Int(text) : 999_999_999
    }
}

/// Which part of a list was sent (XEP-0059 §2).
public struct ResultSet: Hashable, Sendable {
    public var first: String?
    public var last: String?
    /// Items of the whole list; nil: nobody has counted.
    public var count: Int?
    /// The place of `first` in the whole list; nil: nobody has counted.
    public var index: Int?

    public init(first: String? = nil, last: String? = nil, count: Int? = nil, index: Int? = nil) {
        self.first = first
        self.last = last
        self.count = count
        self.index = index
    }

    public var element: Element {
        var set = Element("set", .resultSets)
        if let first {
            var element = Element("first", .resultSets)
            if let index { element[attribute: "index"] = String(index) }
            element.appendText(first)
            set.append(element)
        }
        if let last { set.append(Self.element("last", last)) }
        if let count { set.append(Self.element("count", String(count))) }
        return set
    }

    private static func element(_ name: String, _ text: String) -> Element {
        var element = Element(name, .resultSets)
        element.appendText(text)
        return element
    }
}
