public import XMPPCore

/// What a stream does, in order; the machines consume these and never see bytes.
public enum StreamEvent: Sendable {
    case opened(StreamHeader)
    case element(XMLTree)
    /// The other end has closed its stream. Nothing follows.
    case closed
    /// It cannot be read on. Nothing follows.
    case failed(StreamError)
}

/// Turns the bytes of one connection into the events of a stream, and what the stream says into bytes.
///
/// Owns opening, closing, restarts, the parser with its limits, and the content namespace. Handlers may call `restart`
/// and `limits` but not `feed`. Confined to one event loop.
public protocol Framing: AnyObject {
    var limits: XMLLimits { get set }
    /// The namespace of the stanzas: `jabber:client`, `jabber:server` or a component's.
    var contentNamespace: Namespace { get }
    /// Each write is one message of the transport; otherwise bytes just follow each other.
    var isMessageBased: Bool { get }

    /// Bytes as they arrive; with a message-based framing exactly one message.
    func feed(_ bytes: UnsafeRawBufferPointer, _ handler: (StreamEvent) -> Directive)
    /// Goes on after `.pause`, with what had arrived by then and since.
    func resume(_ handler: (StreamEvent) -> Directive)
    /// After `.stop`: the bytes behind the event that was answered with it. Gives them once.
    func takeLeftover() -> [UInt8]
    /// The next thing must be a new stream header: after TLS and SASL. From within a handler, it holds for what
    /// stands behind the event.
    func restart()
    /// Gives the parser back if the stream is between two stanzas; call when the bytes of one read are done.
    func rest()
    /// The connection has moved to the loop of that pool.
    func move(to pool: ParserPool)

    func writeOpen(_ header: StreamHeader, into output: OutputBuffer)
    func writeClose(into output: OutputBuffer)
    func write(_ stanza: Stanza, to recipient: JID?, into output: OutputBuffer)
    func write(_ stanza: RenderedStanza, to recipient: JID?, into output: OutputBuffer)
    func write(_ element: Element, into output: OutputBuffer)
    /// The bytes of a stanza for many streams of this kind.
    func render(_ stanza: Stanza) -> RenderedStanza
}

extension Framing {
    public func feed(_ bytes: [UInt8], _ handler: (StreamEvent) -> Directive) {
        bytes.withUnsafeBytes { feed($0, handler) }
    }

    public func write(_ stanza: Stanza, into output: OutputBuffer) {
        write(stanza, to: nil, into: output)
    }
}

extension StreamError {
    /// What a fault of the XML is to the stream (RFC 6120 §4.9.3).
    public init(_ fault: XMLFault) {
        switch fault {
        case .notWellFormed, .incomplete: self = .notWellFormed
        case .restrictedXML: self = .restrictedXML
        case .unsupportedEncoding: self = .unsupportedEncoding
        case .badNamespacePrefix: self = .badNamespacePrefix
        case .textBetweenElements: self = .badFormat.saying("text between stanzas")
        case .nestedStream: self = .badFormat.saying("a stream within the stream")
        case .tooLarge(let dimension): self = .policyViolation.saying("too large: \(dimension)")
        }
    }
}
