/// What a parser must have read before it can read one stream's stanzas: a root of the same name and declarations.
///
/// Two streams with equal prologues can use one parser in turn between their stanzas.
public final class XMLPrologue: Hashable, Sendable {
    /// A start tag.
    let bytes: [UInt8]

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// For documents that stand alone: nothing is declared around them.
    public static let standalone = XMLPrologue(bytes: Array("<document>".utf8))

    public var count: Int { bytes.count }

    public static func == (left: XMLPrologue, right: XMLPrologue) -> Bool {
        left === right || left.bytes == right.bytes
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(bytes)
    }
}

/// The opened root of a stream.
public final class XMLRoot: Sendable {
    /// The root alone: its name and attributes.
    public let element: ElementView
    /// What it declares as the default namespace; nil: none, or one that no code knows.
    public let defaultNamespace: Namespace?
    /// For reading on with another parser.
    public let prologue: XMLPrologue

    init(element: ElementView, defaultNamespace: Namespace?, prologue: XMLPrologue) {
        (self.element, self.defaultNamespace, self.prologue) = (element, defaultNamespace, prologue)
    }
}

/// What a stream does, in order.
public enum XMLEvent: Sendable {
    /// The root has begun.
    case opened(XMLRoot)
    /// A child of the root is complete.
    case element(XMLTree)
    /// The root has ended; nothing follows.
    case closed
    /// It cannot be read on; nothing follows.
    case failed(XMLFault)
}

/// What the receiver of an event wants next.
public enum Directive: Sendable {
    /// More.
    case proceed
    /// Nothing for now: the bytes behind this event are kept until `resume`.
    case pause
    /// Nothing more from this parser: `takeLeftover` gives the bytes behind this event.
    case stop
}
