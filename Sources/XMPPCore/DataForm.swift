/// Fields with their values, to be filled in, sent in or reported (XEP-0004).
///
/// What is read is bounded (`Limits`); a field of an unknown type is a `text-single` one, and what XEP-0004 does not know
/// is passed over.
public struct DataForm: Hashable, Sendable {
    /// What the form is for (XEP-0004 §3.1).
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// To be filled in.
        case form
        /// Filled in.
        case submit
        /// Not to be filled in: the process ends.
        case cancel
        /// Data that somebody asked for.
        case result
    }

    /// XEP-0004 §3.3.
    public enum FieldType: String, Hashable, Sendable, CaseIterable {
        case boolean = "boolean"
        /// Text for people, not a field to fill in.
        case fixed = "fixed"
        case hidden = "hidden"
        case jidMulti = "jid-multi"
        case jidSingle = "jid-single"
        case listMulti = "list-multi"
        case listSingle = "list-single"
        case textMulti = "text-multi"
        case textPrivate = "text-private"
        case textSingle = "text-single"

        /// More than one value may stand in it.
        public var isMultiple: Bool {
            switch self {
            case .hidden, .jidMulti, .listMulti, .textMulti: true
            case .boolean, .fixed, .jidSingle, .listSingle, .textPrivate, .textSingle: false
            }
        }
    }

    public struct Option: Hashable, Sendable {
        public var value: String
        public var label: String?

        public init(_ value: String, label: String? = nil) {
            self.value = value
            self.label = label
        }
    }

    public struct Field: Hashable, Sendable {
        /// Nil: of a fixed text.
        public var name: String?
        /// Nil: the form does not say, as most that are sent in do not.
        public var type: FieldType?
        public var label: String?
        public var description: String?
        public var isRequired = false
        public var values: [String]
        public var options: [Option] = []
        /// Values beside the options are welcome (XEP-0122 §3.2.2).
        public var isOpen = false

        public init(_ name: String?, _ type: FieldType? = nil, label: String? = nil, values: [String] = []) {
            self.name = name
            self.type = type
            self.label = label
            self.values = values
        }
    }

    /// What a form that comes from outside may hold at most; one that holds more is refused.
    public struct Limits: Hashable, Sendable {
        /// Fields, those of the items included.
        public var fields: Int
        /// Values and options of all fields.
        public var values: Int
        /// Bytes of all texts.
        public var bytes: Int

        public init(fields: Int = 256, values: Int = 2048, bytes: Int = 128 << 10) {
            self.fields = fields
            self.values = values
            self.bytes = bytes
        }

        public static let usual = Limits()
    }

    public var kind: Kind
    public var title: String?
    public var instructions: [String] = []
    public var fields: [Field]
    /// The columns of `items` (XEP-0004 §3.4).
    public var reported: [Field] = []
    public var items: [[Field]] = []

    /// The field that says which form it is (XEP-0068).
    public static let typeField = "FORM_TYPE"

    /// - Parameter type: the form's `FORM_TYPE` (XEP-0068); nil: it has none.
    public init(_ kind: Kind, type: String? = nil, fields: [Field] = []) {
        self.kind = kind
        self.fields = (type.map { [Field(Self.typeField, .hidden, values: [$0])] } ?? []) + fields
    }

    // MARK: Looking at it

    /// XEP-0068: the one value of the hidden field of that name; in a form that is sent in the field need not say that
    /// it is hidden. Nil as well when several fields claim to be it.
    public var type: String? {
        let claims = fields.filter { $0.name == Self.typeField }
        guard claims.count == 1, let claim = claims.first, claim.values.count == 1 else { return nil }
        guard claim.type == .hidden || claim.type == nil && kind == .submit else { return nil }
        return claim.values.first
    }

    /// The first field of that name.
    public subscript(_ name: String) -> Field? { fields.first { $0.name == name } }

    /// The field's only value; nil: there is no such field, or it has no value.
    ///
    /// - Throws: `not-acceptable` for several values.
    public func text(_ name: String) throws(StanzaError) -> String? {
        guard let field = self[name], let value = field.values.first else { return nil }
        guard field.values.count == 1 else { throw Self.wrong(name, "takes one value") }
        return value
    }

    /// The field's values; none as well when there is no such field.
    public func texts(_ name: String) -> [String] { self[name]?.values ?? [] }

    /// - Throws: `not-acceptable` for anything but `1`, `true`, `0`, `false` (XEP-0004 §3.3).
    public func flag(_ name: String) throws(StanzaError) -> Bool? {
        switch try text(name) {
        case nil: return nil
        case "1", "true": return true
        case "0", "false": return false
        default: throw Self.wrong(name, "is true or false")
        }
    }

    /// - Throws: `not-acceptable` for what is no whole number, or one outside of the range.
    public func number(_ name: String, in range: ClosedRange<Int>) throws(StanzaError) -> Int? {
        guard let text = try text(name) else { return nil }
        let digits = text.utf8.first == UInt8(ascii: "-") ? text.utf8.dropFirst() : text.utf8[...]
        guard !digits.isEmpty, digits.count <= 19, digits.allSatisfy({ (0x30...0x39).contains($0) }),
            let number = Int(text), range.contains(number)
        else { throw Self.wrong(name, "is a number from \(range.lowerBound) to \(range.upperBound)") }
        return number
    }

    /// - Throws: `not-acceptable` for what is no address.
    public func address(_ name: String) throws(StanzaError) -> JID? {
        guard let text = try text(name) else { return nil }
        guard let address = JID(text) else { throw Self.wrong(name, "is an address") }
        return address
    }

    /// Each address once (XEP-0004 §3.3).
    ///
    /// - Throws: `not-acceptable` if one of them is none.
    public func addresses(_ name: String) throws(StanzaError) -> [JID] {
        var seen: Set<JID> = []
        var found: [JID] = []
        for text in texts(name) {
            guard let address = JID(text) else { throw Self.wrong(name, "has addresses") }
            if seen.insert(address).inserted { found.append(address) }
        }
        return found
    }

    private static func wrong(_ name: String, _ rule: String) -> StanzaError {
        .notAcceptable.saying("\(name) \(rule)")
    }
}
