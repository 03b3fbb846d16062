internal import Glibc

/// One node of a tree in document order: an element, then its attributes, then what it contains.
struct Node {
    enum Kind: UInt8 { case element, attribute, text }

    /// Attributes that every stanza has, recognised while parsing.
    enum Mark: UInt8 { case none, from, to, id, type, language }

    /// First byte: of the name, behind which an attribute's value follows; or of the text.
    var offset: UInt32
    /// Bytes of the value or text. Of an element: the index of the first node behind it (its parent while it is open).
    var length: UInt32
    var nameLength: UInt16
    /// The namespace's number; from `Node.local` on an index into the tree's own list.
    var namespace: UInt16
    /// Attributes of this element.
    var attributes: UInt16
    var kind: Kind
    var mark: Mark

    static let local: UInt16 = 0x8000
}

/// A namespace name that code does not know, as bytes of the tree.
struct ByteRange {
    var offset: UInt32
    var length: UInt32
}

struct ArenaHeader {
    var nodes: UInt32
    var ranges: UInt32
    var bytes: UInt32
    var payloads: UInt64
}

/// The one allocation behind a tree: nodes, namespace ranges and bytes, in this order.
final class Arena: ManagedBuffer<ArenaHeader, UInt64> {
    @inline(__always)
    var nodes: UnsafePointer<Node> {
        withUnsafeMutablePointerToElements { UnsafeRawPointer($0).assumingMemoryBound(to: Node.self) }
    }

    @inline(__always)
    var ranges: UnsafePointer<ByteRange> {
        UnsafeRawPointer(nodes + Int(header.nodes)).assumingMemoryBound(to: ByteRange.self)
    }

    @inline(__always)
    var bytes: UnsafePointer<UInt8> {
        UnsafeRawPointer(ranges + Int(header.ranges)).assumingMemoryBound(to: UInt8.self)
    }
}

/// One element with all that is below it: immutable, in a single allocation, shared freely between loops.
public struct XMLTree: @unchecked Sendable {
    // Unchecked: the arena is written once, by `TreeBuilder.finish`, before anybody else can see it.
    let arena: Arena

    public var root: ElementView { ElementView(arena: arena, index: 0) }

    /// The bits of the namespaces of the root's child elements; a namespace unknown to code has none.
    public var payloadNamespaces: UInt64 { arena.header.payloads }

    /// Bytes that keeping this tree costs, for quotas.
    public var byteCount: Int {
        let header = arena.header
        return 48 + Int(header.nodes) * 16 + Int(header.ranges) * 8 + Int(header.bytes)
    }

    /// What was written, for recognising it: equal for equal bytes, but not for every spelling of the same element.
    public func hashContent(into hasher: inout Hasher) {
        let header = arena.header
        let nodes = Int(header.nodes) * MemoryLayout<Node>.stride
        let ranges = Int(header.ranges) * MemoryLayout<ByteRange>.stride
        // They lie behind one another.
        hasher.combine(bytes: UnsafeRawBufferPointer(start: arena.nodes, count: nodes + ranges + Int(header.bytes)))
        withExtendedLifetime(arena) {}
    }

    /// The same element as a flat tree.
    public init(_ element: Element) {
        let builder = TreeBuilder()
        defer { builder.destroy() }
        self = builder.copy(element)
    }

    init(arena: Arena) {
        self.arena = arena
    }
}

extension XMLTree: CustomStringConvertible, Equatable {
    public var description: String { root.description }

    public static func == (left: XMLTree, right: XMLTree) -> Bool {
        left.arena === right.arena || left.root.element == right.root.element
    }
}
