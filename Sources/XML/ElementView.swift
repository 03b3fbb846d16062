internal import Glibc

/// A cursor: one element of a tree, which it keeps alive. Looking costs no allocation unless a `String` is asked for.
public struct ElementView: @unchecked Sendable {
    // Unchecked: as XMLTree.
    let arena: Arena
    let index: Int32

    init(arena: Arena, index: Int) {
        self.arena = arena
        self.index = Int32(truncatingIfNeeded: index)
    }

    @inline(__always)
    var node: UnsafePointer<Node> { arena.nodes + Int(index) }

    /// Its namespace; nil when no code knows it.
    public var namespace: Namespace? {
        let id = arena.number(node.pointee.namespace)
        return id < Node.local ? Namespace(id: id) : nil
    }

    public var namespaceURI: String { arena.uri(node.pointee.namespace) }

    public var name: String { arena.string(node.pointee.offset, Int(node.pointee.nameLength)) }

    public func withName<Result>(_ body: (UnsafeBufferPointer<UInt8>) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(arena) {
            try body(
                UnsafeBufferPointer(start: arena.bytes + Int(node.pointee.offset), count: Int(node.pointee.nameLength)))
        }
    }

    public func isNamed(_ name: StaticString, _ namespace: Namespace) -> Bool {
        arena.number(node.pointee.namespace) == namespace.id && isNamed(name)
    }

    /// Whether its local name is this, in whatever namespace.
    public func isNamed(_ name: StaticString) -> Bool {
        name.withUTF8Buffer { arena.has($0, at: node.pointee) }
    }

    /// The attribute of that name without a namespace.
    public func attribute(_ name: StaticString) -> String? {
        withAttribute(name) { String(decoding: $0, as: UTF8.self) }
    }

    /// The attribute of that name and namespace.
    public func attribute(_ name: StaticString, _ namespace: Namespace) -> String? {
        find(name, namespace.id).map { arena.value($0.pointee) }
    }

    /// Calls `body` with the value's bytes, good within the call only; nil when there is no such attribute.
    public func withAttribute<Result>(
        _ name: StaticString, _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
    ) rethrows -> Result? {
        guard let found = find(name, 0) else { return nil }
        return try withExtendedLifetime(arena) { try body(arena.valueBytes(found.pointee)) }
    }

    /// Whether that attribute is there and has that value.
    public func attribute(_ name: StaticString, is value: StaticString) -> Bool {
        withAttribute(name) { bytes in
            value.withUTF8Buffer { $0.elementsEqual(bytes) }
        } ?? false
    }

    /// The attributes that every stanza has, found in one pass. Good as long as the element is kept alive.
    public var standard: StandardValues {
        var values = StandardValues()
        let first = node + 1
        for index in 0..<Int(node.pointee.attributes) {
            switch first[index].mark {
            case .none, .language: break
            case .from: values.from = arena.valueBytes(first[index])
            case .to: values.to = arena.valueBytes(first[index])
            case .id: values.id = arena.valueBytes(first[index])
            case .type: values.type = arena.valueBytes(first[index])
            }
        }
        return values
    }

    /// Its own `xml:lang`; what it would inherit is the caller's to know.
    public var language: String? { attribute("lang", .xml) }

    public var attributeCount: Int { Int(node.pointee.attributes) }

    /// The elements directly below.
    public var children: Children { Children(of: self) }

    public var firstElement: ElementView? {
        var children = children
        return children.next()
    }

    /// The first child of that name.
    public func first(_ name: StaticString, _ namespace: Namespace) -> ElementView? {
        var children = children
        while let child = children.next() {
            if child.isNamed(name, namespace) { return child }
        }
        return nil
    }

    /// The first child of that namespace.
    public func first(_ namespace: Namespace) -> ElementView? {
        var children = children
        while let child = children.next() {
            if arena.number(child.node.pointee.namespace) == namespace.id { return child }
        }
        return nil
    }

    /// The text directly below, in one piece; that of its children is not part of it.
    public var text: String {
        var only: Node?
        var joined: String?
        forEachText { text in
            if let before = only {
                joined = (joined ?? arena.value(before)) + arena.value(text)
            } else {
                only = text
            }
        }
        return joined ?? only.map { arena.value($0) } ?? ""
    }

    /// Whether it contains anything, be it an element or text.
    public var hasContent: Bool { Int(node.pointee.length) > Int(index) + 1 + Int(node.pointee.attributes) }

    /// Whether there is any text directly below.
    public var hasText: Bool {
        var found = false
        forEachText { _ in found = true }
        return found
    }

    /// Calls `body` with the text's bytes if the text is one run (it is, unless elements stand within), else nil.
    public func withText<Result>(_ body: (UnsafeBufferPointer<UInt8>) throws -> Result) rethrows -> Result {
        var runs = 0
        var last: Node?
        forEachText { text in
            runs += 1
            last = text
        }
        if runs > 1 {
            var text = text
            return try text.withUTF8(body)
        }
        guard let last else { return try body(UnsafeBufferPointer(start: arena.bytes, count: 0)) }
        return try withExtendedLifetime(arena) { try body(arena.valueBytes(last)) }
    }

    /// This element alone, as a tree of its own.
    public var tree: XMLTree {
        if index == 0 { return XMLTree(arena: arena) }
        let builder = TreeBuilder()
        defer { builder.destroy() }
        return builder.copy(self)
    }

    @inline(__always)
    private func find(_ name: StaticString, _ namespace: UInt16) -> UnsafePointer<Node>? {
        name.withUTF8Buffer { wanted in
            let first = node + 1
            for index in 0..<Int(node.pointee.attributes)
            where arena.number(first[index].namespace) == namespace && arena.has(wanted, at: first[index]) {
                return first + index
            }
            return nil
        }
    }

    @inline(__always)
    private func forEachText(_ body: (Node) -> Void) {
        let nodes = arena.nodes
        var next = Int(index) + 1 + Int(node.pointee.attributes)
        let end = Int(node.pointee.length)
        while next < end {
            if nodes[next].kind == .text {
                body(nodes[next])
                next += 1
            } else {
                next = Int(nodes[next].length)
            }
        }
    }

    /// Elements only, in order.
    public struct Children: Sequence, IteratorProtocol {
        private let arena: Arena
        private var index: Int
        private let end: Int

        init(of parent: ElementView) {
            arena = parent.arena
            index = Int(parent.index) + 1 + Int(parent.node.pointee.attributes)
            end = Int(parent.node.pointee.length)
        }

        public mutating func next() -> ElementView? {
            let nodes = arena.nodes
            while index < end {
                let found = index
                if nodes[found].kind == .element {
                    index = Int(nodes[found].length)
                    return ElementView(arena: arena, index: found)
                }
                index += 1
            }
            return nil
        }

        public var isEmpty: Bool {
            var rest = self
            return rest.next() == nil
        }
    }
}

/// The bytes of a stanza's common attributes; nil: it has none of that name.
public struct StandardValues {
    public internal(set) var from: UnsafeBufferPointer<UInt8>?
    public internal(set) var to: UnsafeBufferPointer<UInt8>?
    public internal(set) var id: UnsafeBufferPointer<UInt8>?
    public internal(set) var type: UnsafeBufferPointer<UInt8>?
}

extension ElementView: CustomStringConvertible {
    /// As it would be written, namespaces and all.
    public var description: String {
        let output = OutputBuffer(capacity: 256)
        XMLWriter(output).write(self)
        return output.description
    }
}

extension Arena {
    /// A namespace's number as it is now: code may have named it since the tree was read.
    @inline(__always)
    func number(_ namespace: UInt16) -> UInt16 {
        namespace < Node.local ? namespace : lateNumber(namespace)
    }

    @inline(never)
    private func lateNumber(_ namespace: UInt16) -> UInt16 {
        let range = ranges[Int(namespace - Node.local)]
        return NamespaceTable.shared.find(bytes + Int(range.offset), Int(range.length)) ?? namespace
    }

    @inline(__always)
    func has(_ name: UnsafeBufferPointer<UInt8>, at node: Node) -> Bool {
        guard Int(node.nameLength) == name.count, let wanted = name.baseAddress else { return false }
        return memcmp(bytes + Int(node.offset), wanted, name.count) == 0
    }

    func string(_ offset: UInt32, _ count: Int) -> String {
        String(decoding: UnsafeBufferPointer(start: bytes + Int(offset), count: count), as: UTF8.self)
    }

    @inline(__always)
    func valueBytes(_ node: Node) -> UnsafeBufferPointer<UInt8> {
        UnsafeBufferPointer(start: bytes + Int(node.offset) + Int(node.nameLength), count: Int(node.length))
    }

    func value(_ node: Node) -> String { String(decoding: valueBytes(node), as: UTF8.self) }

    func uri(_ namespace: UInt16) -> String {
        guard namespace >= Node.local else { return Namespace(id: namespace).uri }
        let range = ranges[Int(namespace - Node.local)]
        return string(range.offset, Int(range.length))
    }
}
