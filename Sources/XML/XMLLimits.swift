/// How much of anything one stream may send. Every dimension of XML has a bound, because each one unbounded is memory
/// or time for the asking.
public struct XMLLimits: Sendable, Hashable {
    /// Most bytes of one stanza, tags and all; of the stream header too.
    public var maxElementBytes: UInt32
    /// Most bytes of one tag.
    public var maxTokenBytes: UInt32
    /// Most bytes of white space between two stanzas; keep-alives count.
    public var maxWhitespaceBytes: UInt32
    /// Most elements within each other, the stanza itself being the first; never more than 512.
    public var maxDepth: UInt16
    /// Most attributes of one element.
    public var maxAttributes: UInt16
    /// Most elements of one stanza.
    public var maxElements: UInt32

    public init(
        maxElementBytes: UInt32 = 256 * 1024, maxTokenBytes: UInt32 = 32 * 1024,
        maxWhitespaceBytes: UInt32 = 1024 * 1024, maxDepth: UInt16 = 64, maxAttributes: UInt16 = 64,
        maxElements: UInt32 = 8192
    ) {
        self.maxElementBytes = maxElementBytes
        self.maxTokenBytes = maxTokenBytes
        self.maxWhitespaceBytes = maxWhitespaceBytes
        self.maxDepth = maxDepth
        self.maxAttributes = maxAttributes
        self.maxElements = maxElements
    }

    /// For a peer that has not said who it is: enough for any negotiation.
    public static let unauthenticated = XMLLimits(
        maxElementBytes: 16 * 1024, maxTokenBytes: 8 * 1024, maxWhitespaceBytes: 4 * 1024, maxDepth: 16,
        maxAttributes: 32, maxElements: 128)

    /// For a peer with a name.
    public static let authenticated = XMLLimits()

    /// For what this server wrote itself: whatever got in, with stamps and wrappers, comes out again.
    ///
    /// What is written is longer than what came: a character is up to six bytes when it is escaped, and each element
    /// says its namespace in full. So no peer's limits will do, and these stand far above all that a config allows
    /// (16 MiB, 10,000 attributes). They only keep a damaged file from taking all memory.
    public static let stored = XMLLimits(
        maxElementBytes: 256 * 1024 * 1024, maxTokenBytes: 256 * 1024 * 1024, maxDepth: 512, maxAttributes: .max,
        maxElements: 2 * 1024 * 1024)
}

/// Why a stream cannot be read on.
public enum XMLFault: Error, Sendable, Hashable {
    /// Breaks XML or Namespaces in XML, UTF-8 included.
    case notWellFormed
    /// Well-formed XML that XMPP forbids: comment, processing instruction, document type, entity (RFC 6120 §11.1).
    case restrictedXML
    /// Anything but UTF-8 (RFC 6120 §11.6).
    case unsupportedEncoding
    /// The stream header uses a prefix that it does not declare.
    case badNamespacePrefix
    /// Text, other than white space, between stanzas.
    case textBetweenElements
    /// A stream header within the stream.
    case nestedStream
    /// Ended before its element did; only for documents.
    case incomplete
    /// Over one of the `XMLLimits`.
    case tooLarge(Dimension)

    public enum Dimension: Sendable, Hashable {
        case element, token, whitespace, depth, attributes, elements, namespaces, name, memory
    }
}
