public import XML

extension DataForm {
    /// The `<x xmlns='jabber:x:data'/>`.
    public var element: Element {
        var form = Element("x", .dataForms)
        form[attribute: "type"] = kind.rawValue
        if let title { form.append(Self.element("title", title)) }
        for line in instructions { form.append(Self.element("instructions", line)) }
        if !reported.isEmpty {
            var header = Element("reported", .dataForms)
            for field in reported { header.append(field.element) }
            form.append(header)
        }
        for field in fields { form.append(field.element) }
        for item in items {
            var child = Element("item", .dataForms)
            for field in item { child.append(field.element) }
            form.append(child)
        }
        return form
    }

    fileprivate static func element(_ name: String, _ text: String) -> Element {
        var element = Element(name, .dataForms)
        element.appendText(text)
        return element
    }

    /// Reads an `<x xmlns='jabber:x:data'/>`.
    ///
    /// - Throws: `bad-request` for what is no form, for an unknown kind and for a field without a name (XEP-0004 §3.2);
    ///   `not-acceptable` for several values in a field that says it takes one, for a field that is sent in twice, and
    ///   for more than the limits allow.
    public init(_ element: ElementView, limits: Limits = .usual) throws(StanzaError) {
        guard element.isNamed("x", .dataForms), let kind = element.attribute("type").flatMap(Kind.init(rawValue:))
        else { throw .badRequest.saying("not a data form") }
        self.init(kind)
        var budget = Budget(limits)
        for child in element.children where child.namespace == .dataForms {
            switch child.name {
            case "title": title = try budget.text(child)
            case "instructions":
                try budget.takeValue()
                instructions.append(try budget.text(child))
            case "field": fields.append(try Field(child, &budget))
            case "reported": reported += try Self.fields(of: child, &budget)
            case "item": items.append(try Self.fields(of: child, &budget))
            default: break
            }
        }
        guard kind == .submit else { return }
        // XEP-0004 §3.2: a field is known by its name. With two of one name, two readers might read two things.
        var names: Set<String> = []
        for name in fields.compactMap(\.name) where !names.insert(name).inserted {
            throw .notAcceptable.saying("a field stands in the form twice")
        }
    }

    /// The form in an element, such as the query of an IQ; nil: there is none.
    ///
    /// - Throws: as reading one does, and `bad-request` for several.
    public init?(in element: ElementView, limits: Limits = .usual) throws(StanzaError) {
        var found: ElementView?
        for child in element.children where child.isNamed("x", .dataForms) {
            guard found == nil else { throw .badRequest.saying("several data forms") }
            found = child
        }
        guard let found else { return nil }
        try self.init(found, limits: limits)
    }

    private static func fields(of element: ElementView, _ budget: inout Budget) throws(StanzaError) -> [Field] {
        // An item without a field costs as much as one with a field.
        try budget.takeValue()
        var fields: [Field] = []
        for child in element.children where child.isNamed("field", .dataForms) {
            fields.append(try Field(child, &budget))
        }
        return fields
    }

    /// What may still come.
    fileprivate struct Budget {
        private var left: Limits

        init(_ limits: Limits) {
            left = limits
        }

        mutating func takeField() throws(StanzaError) {
            left.fields -= 1
            if left.fields < 0 { throw Self.tooMuch }
        }

        mutating func takeValue() throws(StanzaError) {
            left.values -= 1
            if left.values < 0 { throw Self.tooMuch }
        }

        mutating func text(_ element: ElementView) throws(StanzaError) -> String {
            try counted(element.text)
        }

        mutating func attribute(_ element: ElementView, _ name: StaticString) throws(StanzaError) -> String? {
            guard let value = element.attribute(name) else { return nil }
            return try counted(value)
        }

        private mutating func counted(_ text: String) throws(StanzaError) -> String {
            left.bytes -= text.utf8.count
            if left.bytes < 0 { throw Self.tooMuch }
            return text
        }

        private static var tooMuch: StanzaError { .notAcceptable.saying("the data form is too large") }
    }
}

extension DataForm.Field {
    var element: Element {
        var field = Element("field", .dataForms)
        field[attribute: "var"] = name
        field[attribute: "type"] = type?.rawValue
        field[attribute: "label"] = label
        if let description { field.append(DataForm.element("desc", description)) }
        if isOpen {
            field.append(
                Element("validate", .dataValidation, ["datatype": "xs:string"], Element("open", .dataValidation)))
        }
        if isRequired { field.append(Element("required", .dataForms)) }
        for value in values { field.append(DataForm.element("value", value)) }
        for option in options {
            var child = Element("option", .dataForms)
            child[attribute: "label"] = option.label
            child.append(DataForm.element("value", option.value))
            field.append(child)
        }
        return field
    }

    fileprivate init(_ element: ElementView, _ budget: inout DataForm.Budget) throws(StanzaError) {
        try budget.takeField()
        // XEP-0004 §3.3: a type that is not known is text.
        let type = try budget.attribute(element, "type").map { DataForm.FieldType(rawValue: $0) ?? .textSingle }
        self.init(try budget.attribute(element, "var"), type, label: try budget.attribute(element, "label"))
        if name?.isEmpty != false, type != .fixed { throw .badRequest.saying("a field without a name") }
        for child in element.children where child.namespace == .dataForms {
            switch child.name {
            case "desc": description = try budget.text(child)
            case "required": isRequired = true
            case "value":
                try budget.takeValue()
                values.append(try budget.text(child))
            case "option":
                try budget.takeValue()
                // XEP-0004 §3.2: exactly one value.
                guard let value = child.first("value", .dataForms) else { throw .badRequest.saying("an empty option") }
                options.append(.init(try budget.text(value), label: try budget.attribute(child, "label")))
            default: break
            }
        }
        if let type, !type.isMultiple, values.count > 1 {
            throw .notAcceptable.saying("several values in a field for one")
        }
    }
}

extension Namespace {
    /// XEP-0122.
    static let dataValidation = Namespace("http://jabber.org/protocol/xdata-validate")
}
