internal import Glibc

/// Reusable memory in which a tree is put together, then copied out at its exact size.
///
/// Plain pointers: a stanza costs no growing array and no reference counting. Owned by one parser or one call.
struct TreeScratch {
    var nodes: UnsafeMutablePointer<Node>
    var nodeCapacity: Int
    var nodeCount = 0
    var bytes: UnsafeMutablePointer<UInt8>
    var byteCapacity: Int
    var byteCount = 0
    var ranges: UnsafeMutablePointer<ByteRange>
    var rangeCapacity: Int
    var rangeCount = 0
    /// Index of the innermost open element; -1: none.
    var current = -1
    var elementCount = 0
    var payloads: UInt64 = 0
    /// The last node is text of the innermost open element, and more may be joined to it.
    var textIsOpen = false

    init() {
        (nodeCapacity, byteCapacity, rangeCapacity) = (48, 1024, 4)
        nodes = .allocate(capacity: nodeCapacity)
        bytes = .allocate(capacity: byteCapacity)
        ranges = .allocate(capacity: rangeCapacity)
    }
}

struct TreeBuilder {
    let scratch: UnsafeMutablePointer<TreeScratch>

    init() {
        scratch = .allocate(capacity: 1)
        scratch.initialize(to: TreeScratch())
    }

    func destroy() {
        scratch.pointee.destroy()
        scratch.deallocate()
    }

    func copy(_ element: Element) -> XMLTree {
        scratch.pointee.add(element)
        return scratch.pointee.finish()
    }

    func copy(_ view: ElementView) -> XMLTree {
        scratch.pointee.add(view)
        return scratch.pointee.finish()
    }
}

extension TreeScratch {
    func destroy() {
        nodes.deallocate()
        bytes.deallocate()
        ranges.deallocate()
    }

    // MARK: Events

    @inline(__always)
    mutating func open(_ namespace: UInt16, _ name: UnsafePointer<UInt8>, _ nameLength: Int) {
        if current == 0, namespace < Node.local { payloads |= 1 << UInt64(namespace & 63) }
        let offset = append(name, nameLength)
        push(
            Node(
                offset: offset, length: UInt32(truncatingIfNeeded: current), nameLength: UInt16(nameLength),
                namespace: namespace, attributes: 0, kind: .element, mark: .none))
        current = nodeCount - 1
        elementCount += 1
        textIsOpen = false
    }

    /// Of the element opened last; nothing else may come between.
    @inline(__always)
    mutating func attribute(
        _ namespace: UInt16, _ name: UnsafePointer<UInt8>, _ nameLength: Int, _ value: UnsafePointer<UInt8>,
        _ count: Int
    ) {
        let offset = append(name, nameLength)
        _ = append(value, count)
        push(
            Node(
                offset: offset, length: UInt32(count), nameLength: UInt16(nameLength), namespace: namespace,
                attributes: 0, kind: .attribute, mark: Self.mark(namespace, name, nameLength)))
        nodes[current].attributes += 1
    }

    @inline(__always)
    mutating func text(_ text: UnsafePointer<UInt8>, _ count: Int) {
        guard count > 0 else { return }
        let offset = append(text, count)
        if textIsOpen {
            nodes[nodeCount - 1].length += UInt32(count)
        } else {
            push(
                Node(
                    offset: offset, length: UInt32(count), nameLength: 0, namespace: 0, attributes: 0, kind: .text,
                    mark: .none))
            textIsOpen = true
        }
    }

    @inline(__always)
    mutating func close() {
        let parent = Int(Int32(bitPattern: nodes[current].length))
        nodes[current].length = UInt32(nodeCount)
        current = parent
        textIsOpen = false
    }

    /// The number of a namespace in this tree; nil when it already has `limit` that code does not know.
    mutating func namespace(_ uri: UnsafePointer<UInt8>, _ count: Int, limit: Int) -> UInt16? {
        if let id = NamespaceTable.shared.find(uri, count) { return id }
        for index in 0..<rangeCount
        where ranges[index].length == count && memcmp(bytes + Int(ranges[index].offset), uri, count) == 0 {
            return Node.local + UInt16(index)
        }
        guard rangeCount < limit else { return nil }
        if rangeCount == rangeCapacity {
            ranges = Self.grow(ranges, rangeCount, to: rangeCapacity * 4)
            rangeCapacity *= 4
        }
        ranges[rangeCount] = ByteRange(offset: append(uri, count), length: UInt32(count))
        rangeCount += 1
        textIsOpen = false
        return Node.local + UInt16(rangeCount - 1)
    }

    /// The tree at its exact size; the scratch is empty again.
    mutating func finish() -> XMLTree {
        let size = nodeCount * MemoryLayout<Node>.stride + rangeCount * MemoryLayout<ByteRange>.stride + byteCount
        let header = ArenaHeader(
            nodes: UInt32(nodeCount), ranges: UInt32(rangeCount), bytes: UInt32(byteCount), payloads: payloads)
        let arena = unsafeDowncast(Arena.create(minimumCapacity: (size + 7) / 8) { _ in header }, to: Arena.self)
        arena.withUnsafeMutablePointerToElements { elements in
            var target = UnsafeMutableRawPointer(elements)
            memcpy(target, nodes, nodeCount * MemoryLayout<Node>.stride)
            target += nodeCount * MemoryLayout<Node>.stride
            memcpy(target, ranges, rangeCount * MemoryLayout<ByteRange>.stride)
            target += rangeCount * MemoryLayout<ByteRange>.stride
            memcpy(target, bytes, byteCount)
        }
        reset()
        return XMLTree(arena: arena)
    }

    mutating func reset() {
        (nodeCount, byteCount, rangeCount, elementCount) = (0, 0, 0, 0)
        (current, payloads, textIsOpen) = (-1, 0, false)
        if byteCapacity + nodeCapacity * 16 > 64 * 1024 {
            destroy()
            self = TreeScratch()
        }
    }

    // MARK: Copies

    mutating func add(_ element: Element) {
        let namespace = number(of: element.namespace)
        Self.withBytes(of: element.name) { open(namespace, $0, min($1, Self.longestName)) }
        for attribute in element.attributes.prefix(Int(UInt16.max)) {
            let namespace = number(of: attribute.namespace)
            Self.withBytes(of: attribute.name) { name, nameLength in
                Self.withBytes(of: attribute.value) { value, count in
                    self.attribute(namespace, name, min(nameLength, Self.longestName), value, count)
                }
            }
        }
        for child in element.children {
            switch child {
            case .element(let element): add(element)
            case .text(let text): Self.withBytes(of: text) { self.text($0, $1) }
            }
        }
        close()
    }

    mutating func add(_ view: ElementView) {
        let (arena, first) = (view.arena, Int(view.index))
        let (nodes, bytes) = (arena.nodes, arena.bytes)
        var index = first
        let end = Int(nodes[first].length)
        var ends: [Int] = []
        while index < end {
            while let last = ends.last, last <= index {
                close()
                ends.removeLast()
            }
            let node = nodes[index]
            let start = bytes + Int(node.offset)
            switch node.kind {
            case .element:
                open(number(of: node.namespace, in: arena), start, Int(node.nameLength))
                ends.append(Int(node.length))
            case .attribute:
                let name = Int(node.nameLength)
                attribute(number(of: node.namespace, in: arena), start, name, start + name, Int(node.length))
            case .text:
                text(start, Int(node.length))
            }
            index += 1
        }
        while !ends.isEmpty {
            close()
            ends.removeLast()
        }
        withExtendedLifetime(arena) {}
    }

    private mutating func number(of uri: String) -> UInt16 {
        if uri.isEmpty { return 0 }
        var uri = uri
        return uri.withUTF8 { bytes in
            bytes.baseAddress.flatMap { namespace($0, bytes.count, limit: Int(Node.local) - 1) } ?? 0
        }
    }

    private mutating func number(of id: UInt16, in arena: Arena) -> UInt16 {
        guard id >= Node.local else { return id }
        let range = arena.ranges[Int(id - Node.local)]
        return namespace(arena.bytes + Int(range.offset), Int(range.length), limit: Int(Node.local) - 1) ?? 0
    }

    /// What a node has place for.
    private static let longestName = Int(UInt16.max)

    /// An address for no bytes too.
    @inline(__always)
    private static func withBytes(of text: String, _ body: (UnsafePointer<UInt8>, Int) -> Void) {
        var text = text
        text.withUTF8 { bytes in
            if let base = bytes.baseAddress { return body(base, bytes.count) }
            var none: UInt8 = 0
            body(&none, 0)
        }
    }

    // MARK: Memory

    @inline(__always)
    private mutating func push(_ node: Node) {
        if nodeCount == nodeCapacity {
            nodes = Self.grow(nodes, nodeCount, to: nodeCapacity * 2)
            nodeCapacity *= 2
        }
        nodes[nodeCount] = node
        nodeCount += 1
    }

    @inline(__always)
    private mutating func append(_ source: UnsafePointer<UInt8>, _ count: Int) -> UInt32 {
        if byteCapacity - byteCount < count { growBytes(by: count) }
        memcpy(bytes + byteCount, source, count)
        let offset = UInt32(byteCount)
        byteCount += count
        return offset
    }

    @inline(never)
    private mutating func growBytes(by count: Int) {
        let capacity = max(byteCapacity * 2, byteCount + count)
        bytes = Self.grow(bytes, byteCount, to: capacity)
        byteCapacity = capacity
    }

    @inline(never)
    private static func grow<Item>(
        _ old: UnsafeMutablePointer<Item>, _ count: Int, to capacity: Int
    ) -> UnsafeMutablePointer<Item> {
        let new = UnsafeMutablePointer<Item>.allocate(capacity: capacity)
        memcpy(new, old, count * MemoryLayout<Item>.stride)
        old.deallocate()
        return new
    }

    @inline(__always)
    private static func mark(_ namespace: UInt16, _ name: UnsafePointer<UInt8>, _ count: Int) -> Node.Mark {
        guard count == 2 || count == 4 else { return .none }
        if namespace == 0 {
            switch (count, name[0], name[1]) {
            case (2, UInt8(ascii: "t"), UInt8(ascii: "o")): return .to
            case (2, UInt8(ascii: "i"), UInt8(ascii: "d")): return .id
            case (4, UInt8(ascii: "f"), UInt8(ascii: "r")): return memcmp(name, "from", 4) == 0 ? .from : .none
            case (4, UInt8(ascii: "t"), UInt8(ascii: "y")): return memcmp(name, "type", 4) == 0 ? .type : .none
            default: return .none
            }
        }
        return namespace == Namespace.xml.id && count == 4 && memcmp(name, "lang", 4) == 0 ? .language : .none
    }
}
