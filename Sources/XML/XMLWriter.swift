/// Attributes that a writer can leave out of a start tag because the caller writes its own.
public struct StandardAttributes: OptionSet, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let from = StandardAttributes(rawValue: 1 << Node.Mark.from.rawValue)
    public static let to = StandardAttributes(rawValue: 1 << Node.Mark.to.rawValue)
    public static let id = StandardAttributes(rawValue: 1 << Node.Mark.id.rawValue)
    public static let type = StandardAttributes(rawValue: 1 << Node.Mark.type.rawValue)
    public static let language = StandardAttributes(rawValue: 1 << Node.Mark.language.rawValue)
}

/// Appends XML to a buffer.
///
/// Every element says its namespace as the default one, and only where it differs from what is in scope; prefixes
/// exist for attributes alone. Reading the result gives the same tree, whatever its text and attributes contain.
public struct XMLWriter {
    public let output: OutputBuffer

    public init(_ output: OutputBuffer) {
        self.output = output
    }

    // MARK: Whole elements

    /// Writes the element; `inheriting` is the default namespace in scope where it will stand.
    public func write(_ view: ElementView, inheriting: Namespace = .empty) {
        withExtendedLifetime(view.arena) {
            TreeWriter(view.arena, output).element(Int(view.index), scope: inheriting.id)
        }
    }

    public func write(_ tree: XMLTree, inheriting: Namespace = .empty) {
        write(tree.root, inheriting: inheriting)
    }

    public func write(_ element: Element, inheriting: Namespace = .empty) {
        write(element, scope: inheriting.uri)
    }

    // MARK: Piece by piece

    /// Writes `<name` with its attributes, without the end of the tag.
    ///
    /// With `namespace` the element is written as if it were of that one, which is how a stanza changes between
    /// `jabber:client` and `jabber:server`; give the same to `content`.
    public func startTag(
        of view: ElementView, as namespace: Namespace? = nil, inheriting: Namespace = .empty,
        omitting: StandardAttributes = []
    ) {
        withExtendedLifetime(view.arena) {
            TreeWriter(view.arena, output, as: namespace, at: Int(view.index))
                .startTag(Int(view.index), scope: inheriting.id, translate: namespace != nil, omitting: omitting)
        }
    }

    /// Writes everything within the element.
    public func content(of view: ElementView, as namespace: Namespace? = nil) {
        withExtendedLifetime(view.arena) {
            TreeWriter(view.arena, output, as: namespace, at: Int(view.index))
                .content(Int(view.index), translate: namespace != nil)
        }
    }

    /// Writes `</name>`.
    public func endTag(of view: ElementView) {
        withExtendedLifetime(view.arena) {
            TreeWriter(view.arena, output).endTag(Int(view.index))
        }
    }

    /// Writes ` name='value'`.
    public func attribute(_ name: StaticString, _ value: String) {
        beginAttribute(name)
        escape(attribute: value)
        endAttribute()
    }

    /// Writes ` name='`; the value follows through `escape(attribute:)`, then `endAttribute()`.
    public func beginAttribute(_ name: StaticString) {
        output.append(byte: UInt8(ascii: " "))
        output.append(name)
        output.append("='")
    }

    public func endAttribute() {
        output.append(byte: UInt8(ascii: "'"))
    }

    /// Writes a part of an attribute's value.
    public func escape(attribute value: String) {
        var value = value
        value.withUTF8 { Escape.attribute($0, into: output) }
    }

    /// Writes a part of an attribute's value.
    public func escape(attribute value: UnsafeBufferPointer<UInt8>) {
        Escape.attribute(value, into: output)
    }

    public func text(_ text: String) {
        var text = text
        text.withUTF8 { Escape.text($0, into: output) }
    }

    // MARK: Values

    private func write(_ element: Element, scope: String) {
        let isXML = element.namespace == Namespace.xml.uri
        output.append(isXML ? "<xml:" : "<")
        output.append(raw: element.name)
        var scope = scope
        if !isXML, element.namespace != scope {
            attribute("xmlns", element.namespace)
            scope = element.namespace
        }
        for (index, attribute) in element.attributes.enumerated() {
            if attribute.namespace == Namespace.xml.uri {
                output.append(" xml:")
            } else if !attribute.namespace.isEmpty {
                output.append(raw: " xmlns:n\(index)='")
                escape(attribute: attribute.namespace)
                output.append(raw: "' n\(index):")
            } else {
                output.append(byte: UInt8(ascii: " "))
            }
            output.append(raw: attribute.name)
            output.append("='")
            escape(attribute: attribute.value)
            endAttribute()
        }
        guard !element.children.isEmpty else { return output.append("/>") }
        output.append(byte: UInt8(ascii: ">"))
        for child in element.children {
            switch child {
            case .element(let element): write(element, scope: scope)
            case .text(let text): self.text(text)
            }
        }
        output.append(isXML ? "</xml:" : "</")
        output.append(raw: element.name)
        output.append(byte: UInt8(ascii: ">"))
    }
}

/// Writes one arena through plain pointers; whoever makes it keeps the arena alive.
struct TreeWriter {
    private let nodes: UnsafePointer<Node>
    private let ranges: UnsafePointer<ByteRange>
    private let bytes: UnsafePointer<UInt8>
    private let output: OutputBuffer
    /// Elements of `source`, from the root down as long as no other namespace comes between, are written as `target`.
    private let source: UInt16
    private let target: UInt16

    init(_ arena: Arena, _ output: OutputBuffer, as namespace: Namespace? = nil, at index: Int = 0) {
        (nodes, ranges, bytes) = (arena.nodes, arena.ranges, arena.bytes)
        self.output = output
        source = nodes[index].namespace
        target = namespace?.id ?? source
    }

    func element(_ index: Int, scope: UInt16, translate: Bool = false) {
        startTag(index, scope: scope, translate: translate, omitting: [])
        let node = nodes[index]
        if Int(node.length) == index + 1 + Int(node.attributes) { return output.append("/>", 2) }
        output.put(UInt8(ascii: ">"))
        content(index, translate: translate, outer: scope)
        endTag(index)
    }

    @inline(__always)
    func startTag(_ index: Int, scope: UInt16, translate: Bool, omitting: StandardAttributes) {
        let node = nodes[index]
        let namespace = translate && node.namespace == source ? target : node.namespace
        if namespace == Namespace.xml.id {
            output.append("<xml:", 5)
        } else {
            output.put(UInt8(ascii: "<"))
        }
        output.append(bytes + Int(node.offset), Int(node.nameLength))
        if namespace != scope, namespace != Namespace.xml.id {
            output.append(" xmlns='", 8)
            uri(namespace)
            output.put(UInt8(ascii: "'"))
        }
        for offset in 0..<Int(node.attributes) {
            let attribute = nodes[index + 1 + offset]
            if omitting.rawValue & (1 << attribute.mark.rawValue) & ~1 != 0 { continue }
            if attribute.namespace == 0 {
                output.put(UInt8(ascii: " "))
            } else if attribute.namespace == Namespace.xml.id {
                output.append(" xml:", 5)
            } else {
                output.append(raw: " xmlns:n\(offset)='")
                uri(attribute.namespace)
                output.append(raw: "' n\(offset):")
            }
            let name = bytes + Int(attribute.offset)
            output.append(name, Int(attribute.nameLength))
            output.put(UInt8(ascii: "="))
            output.put(UInt8(ascii: "'"))
            let value = UnsafeBufferPointer(start: name + Int(attribute.nameLength), count: Int(attribute.length))
            Escape.attribute(value, into: output)
            output.put(UInt8(ascii: "'"))
        }
    }

    /// `outer` is what was the default namespace outside; unknown unless said, so that each child says its own.
    func content(_ index: Int, translate: Bool, outer: UInt16 = .max) {
        let node = nodes[index]
        var translates = translate && node.namespace == source
        var scope = translates ? target : node.namespace
        // The `xml` prefix declares nothing.
        if scope == Namespace.xml.id { (scope, translates) = (outer, false) }
        var next = index + 1 + Int(node.attributes)
        let end = Int(node.length)
        while next < end {
            let child = nodes[next]
            if child.kind == .text {
                Escape.text(
                    UnsafeBufferPointer(start: bytes + Int(child.offset), count: Int(child.length)), into: output)
                next += 1
            } else {
                element(next, scope: scope, translate: translates)
                next = Int(child.length)
            }
        }
    }

    @inline(__always)
    func endTag(_ index: Int) {
        let node = nodes[index]
        if node.namespace == Namespace.xml.id {
            output.append("</xml:", 6)
        } else {
            output.append("</", 2)
        }
        output.append(bytes + Int(node.offset), Int(node.nameLength))
        output.put(UInt8(ascii: ">"))
    }

    private func uri(_ namespace: UInt16) {
        if namespace < Node.local {
            let entry = NamespaceTable.shared.entries + Int(namespace)
            Escape.attribute(
                UnsafeBufferPointer(start: entry.pointee.bytes, count: entry.pointee.count), into: output)
        } else {
            let range = ranges[Int(namespace - Node.local)]
            Escape.attribute(
                UnsafeBufferPointer(start: bytes + Int(range.offset), count: Int(range.length)), into: output)
        }
    }
}

/// Escaping. What XML has no way to say (control characters, which no parser lets in but code might) becomes U+FFFD.
enum Escape {
    // Every byte that may need something is below 64, but for the first one of U+FFFE and U+FFFF.
    private static let control: UInt64 = 0xFFFF_FFFF
    private static let markup: UInt64 = 1 << 0x26 | 1 << 0x3C | 1 << 0x3E
    private static let quotes: UInt64 = 1 << 0x22 | 1 << 0x27
    private static let textSpecials = (control & ~(1 << 0x09 | 1 << 0x0A)) | markup
    private static let attributeSpecials = control | markup | quotes

    @inline(__always)
    static func text(_ text: UnsafeBufferPointer<UInt8>, into output: OutputBuffer) {
        escape(text, textSpecials, into: output)
    }

    @inline(__always)
    static func attribute(_ value: UnsafeBufferPointer<UInt8>, into output: OutputBuffer) {
        escape(value, attributeSpecials, into: output)
    }

    private static func escape(_ source: UnsafeBufferPointer<UInt8>, _ specials: UInt64, into output: OutputBuffer) {
        guard let base = source.baseAddress else { return }
        let count = source.count
        var (start, index) = (0, 0)
        while index < count {
            index = clean(base, from: index, to: count, specials)
            guard index < count else { break }
            let byte = base[index]
            if byte == 0xEF {
                let isNoncharacter = index + 2 < count && base[index + 1] == 0xBF && base[index + 2] >= 0xBE
                if isNoncharacter {
                    output.append(base + start, index - start)
                    output.append("\u{FFFD}")
                    index += 3
                    start = index
                } else {
                    index += 1
                }
                continue
            }
            output.append(base + start, index - start)
            reference(to: byte, into: output)
            index += 1
            start = index
        }
        output.append(base + start, count - start)
    }

    /// The index of the first byte that needs a closer look.
    @inline(__always)
    private static func clean(_ base: UnsafePointer<UInt8>, from: Int, to count: Int, _ specials: UInt64) -> Int {
        var index = from
        while index < count {
            let blockEnd = min(index + 16, count)
            if blockEnd - index == 16, isPlain(UnsafeRawPointer(base + index)) {
                index = blockEnd
                continue
            }
            while index < blockEnd {
                let byte = base[index]
                if byte < 64 ? specials >> UInt64(byte) & 1 == 1 : byte == 0xEF { return index }
                index += 1
            }
        }
        return index
    }

    /// Whether none of sixteen bytes is special; coarse: some innocent ones are suspected as well.
    @inline(__always)
    private static func isPlain(_ bytes: UnsafeRawPointer) -> Bool {
        typealias Block = SIMD16<UInt8>
        let block = bytes.loadUnaligned(as: Block.self)
        let quoteOrAmpersand = (block & Block(repeating: 0xFA)) .== Block(repeating: 0x22)
        let angle = (block & Block(repeating: 0xFD)) .== Block(repeating: 0x3C)
        let control = block .< Block(repeating: 0x20)
        let wide = block .== Block(repeating: 0xEF)
        let suspicious = quoteOrAmpersand .| angle .| control .| wide
        return !any(suspicious)
    }

    @inline(never)
    private static func reference(to byte: UInt8, into output: OutputBuffer) {
        switch byte {
        case UInt8(ascii: "&"): output.append("&amp;")
        case UInt8(ascii: "<"): output.append("&lt;")
        case UInt8(ascii: ">"): output.append("&gt;")
        case UInt8(ascii: "\""): output.append("&quot;")
        case UInt8(ascii: "'"): output.append("&apos;")
        case 0x09: output.append("&#9;")
        case 0x0A: output.append("&#10;")
        case 0x0D: output.append("&#13;")
        default: output.append("\u{FFFD}")
        }
    }
}
