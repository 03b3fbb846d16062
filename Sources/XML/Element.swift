/// An attribute; `namespace` is the name of its namespace, empty for the usual ones without.
public struct Attribute: Hashable, Sendable {
    public var name: String
    public var namespace: String
    public var value: String

    public init(_ name: String, _ value: String, namespace: String = "") {
        (self.name, self.namespace, self.value) = (name, namespace, value)
    }
}

/// An element as a plain value, for building and for looking inside. What passes through stays an `XMLTree`.
public struct Element: Hashable, Sendable {
    public enum Child: Hashable, Sendable {
        case element(Element)
        case text(String)
    }

    public var name: String
    /// The name of its namespace; empty for none.
    public var namespace: String
    public var attributes: [Attribute]
    public var children: [Child]

    public init(name: String, namespace: String, attributes: [Attribute] = [], children: [Child] = []) {
        (self.name, self.namespace, self.attributes, self.children) = (name, namespace, attributes, children)
    }

    /// An element of a namespace known to code; attributes whose value is nil are left out.
    public init(
        _ name: String, _ namespace: Namespace, _ attributes: KeyValuePairs<String, String?> = [:],
        _ children: any ElementContent...
    ) {
        self.name = name
        self.namespace = namespace.uri
        self.attributes = attributes.compactMap { name, value in value.map { Attribute(name, $0) } }
        self.children = []
        for child in children { child.append(to: &self) }
    }

    /// The value of the attribute without a namespace; setting nil removes it.
    public subscript(attribute name: String) -> String? {
        get { attributes.first { $0.name == name && $0.namespace.isEmpty }?.value }
        set {
            let index = attributes.firstIndex { $0.name == name && $0.namespace.isEmpty }
            switch (index, newValue) {
            case (let index?, let value?): attributes[index].value = value
            case (let index?, nil): attributes.remove(at: index)
            case (nil, let value?): attributes.append(Attribute(name, value))
            case (nil, nil): break
            }
        }
    }

    /// Its own `xml:lang`.
    public var language: String? {
        get { attributes.first { $0.name == "lang" && $0.namespace == Namespace.xml.uri }?.value }
        set {
            attributes.removeAll { $0.name == "lang" && $0.namespace == Namespace.xml.uri }
            if let newValue { attributes.append(Attribute("lang", newValue, namespace: Namespace.xml.uri)) }
        }
    }

    public mutating func append(_ element: Element) {
        children.append(.element(element))
    }

    public mutating func append(_ view: ElementView) {
        children.append(.element(view.element))
    }

    public mutating func appendText(_ text: String) {
        guard !text.isEmpty else { return }
        if case .text(let before) = children.last {
            children[children.count - 1] = .text(before + text)
        } else {
            children.append(.text(text))
        }
    }

    public mutating func removeElements(where matches: (Element) -> Bool) {
        children.removeAll { child in
            if case .element(let element) = child { matches(element) } else { false }
        }
    }

    /// The elements directly below.
    public var elements: [Element] {
        children.compactMap { child in
            if case .element(let element) = child { element } else { nil }
        }
    }

    public func first(_ name: String, _ namespace: Namespace) -> Element? {
        for case .element(let element) in children where element.isNamed(name, namespace) { return element }
        return nil
    }

    public func isNamed(_ name: String, _ namespace: Namespace) -> Bool {
        self.name == name && self.namespace == namespace.uri
    }

    /// About how many bytes keeping it costs, for quotas.
    public var byteCount: Int {
        var count = 64 + name.utf8.count + namespace.utf8.count
        for attribute in attributes { count += 48 + attribute.name.utf8.count + attribute.value.utf8.count }
        for child in children {
            switch child {
            case .element(let element): count += element.byteCount
            case .text(let text): count += text.utf8.count
            }
        }
        return count
    }

    /// The text directly below.
    public var text: String {
        var text = ""
        for case .text(let piece) in children { text += piece }
        return text
    }
}

/// What can stand in the list of an element's content: elements, views, text, several or none of them.
public protocol ElementContent {
    func append(to element: inout XML.Element)
}

extension Element: ElementContent {
    public func append(to element: inout XML.Element) { element.append(self) }
}

extension ElementView: ElementContent {
    public func append(to element: inout XML.Element) { element.append(self) }
}

extension String: ElementContent {
    public func append(to element: inout XML.Element) { element.appendText(self) }
}

extension Optional: ElementContent where Wrapped: ElementContent {
    public func append(to element: inout XML.Element) { self?.append(to: &element) }
}

extension Array: ElementContent where Element: ElementContent {
    public func append(to element: inout XML.Element) {
        for content in self { content.append(to: &element) }
    }
}

extension Element: CustomStringConvertible {
    /// As it would be written.
    public var description: String {
        let output = OutputBuffer(capacity: 256)
        XMLWriter(output).write(self)
        return output.description
    }
}

extension ElementView {
    /// The same element as a value.
    public var element: Element {
        let node = node.pointee
        var element = Element(name: name, namespace: namespaceURI)
        element.attributes.reserveCapacity(Int(node.attributes))
        for offset in 1..<(1 + Int(node.attributes)) {
            let attribute = arena.nodes[Int(index) + offset]
            let name = arena.string(attribute.offset, Int(attribute.nameLength))
            element.attributes.append(
                Attribute(name, arena.value(attribute), namespace: arena.uri(attribute.namespace)))
        }
        var next = Int(index) + 1 + Int(node.attributes)
        while next < Int(node.length) {
            let child = arena.nodes[next]
            if child.kind == .text {
                element.children.append(.text(arena.value(child)))
                next += 1
            } else {
                element.children.append(.element(ElementView(arena: arena, index: next).element))
                next = Int(child.length)
            }
        }
        return element
    }
}
