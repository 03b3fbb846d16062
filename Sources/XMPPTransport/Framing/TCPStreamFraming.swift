public import XMPPCore

/// RFC 6120: one XML document per direction, the stanzas being the children of its root.
public final class TCPStreamFraming: Framing {
    private enum Phase: UInt8 {
        /// No header yet, or a new one to come.
        case closed
        case open
        /// Closed by the other end, failed, or stopped.
        case ended
    }

    public let contentNamespace: Namespace
    private var phase = Phase.closed
    /// A handler has asked for a new stream.
    private var mustRestart = false
    private var isBusy = false
    private var isPaused = false
    /// `leftover` is for `takeLeftover` and for nobody else.
    private var isStopped = false
    private var whitespace: UInt32 = 0
    public var limits: XMLLimits {
        didSet { parser?.limits = limits }
    }
    private var pool: ParserPool
    /// Only while there is something to read.
    private var parser: XMLPushParser?
    private var prologue: XMLPrologue?
    /// Bytes that no parser has seen.
    private var leftover: [UInt8] = []

    public init(
        pool: ParserPool, limits: XMLLimits = .unauthenticated, contentNamespace: Namespace = .client
    ) {
        (self.pool, self.limits, self.contentNamespace) = (pool, limits, contentNamespace)
    }

    public var isMessageBased: Bool { false }

    // MARK: Reading

    public func feed(_ bytes: UnsafeRawBufferPointer, _ handler: (StreamEvent) -> Directive) {
        guard phase != .ended, !bytes.isEmpty else { return }
        if isStopped {
            // What was behind the stop and is not wanted must not be read behind what comes now.
            (isStopped, leftover) = (false, [])
        }
        if isPaused || isBusy { return leftover.append(contentsOf: bytes) }
        if parser == nil, phase == .open, rests(through: bytes, handler) { return }
        let parser = borrow()
        isBusy = true
        parser.feed(bytes) { take($0, handler) }
        isBusy = false
        finish(handler)
    }

    public func resume(_ handler: (StreamEvent) -> Directive) {
        guard isPaused, !isBusy else { return }
        isPaused = false
        if let parser {
            isBusy = true
            parser.resume { take($0, handler) }
            isBusy = false
        }
        finish(handler)
    }

    public func takeLeftover() -> [UInt8] {
        guard isStopped else { return [] }
        defer { (isStopped, leftover) = (false, []) }
        return leftover
    }

    public func restart() {
        mustRestart = true
        if !isBusy { becomeNew() }
    }

    public func rest() {
        guard let parser, let prologue, phase == .open, !isBusy, !isPaused, parser.isAtRest else { return }
        whitespace = UInt32(clamping: parser.whitespace)
        pool.give(back: parser, prologue)
        self.parser = nil
    }

    public func move(to pool: ParserPool) {
        rest()
        self.pool = pool
        // Each pool has its own object for equal prologues.
        if let prologue { self.prologue = pool.share(prologue) }
    }

    private func borrow() -> XMLPushParser {
        if let parser { return parser }
        let parser: XMLPushParser
        if let prologue, phase == .open {
            parser = pool.take(prologue, limits)
            parser.whitespace = Int(whitespace)
        } else {
            parser = pool.makeParser(limits)
        }
        self.parser = parser
        return parser
    }

    private func dismissParser() {
        if let parser { pool.recycle(parser) }
        parser = nil
    }

    /// White space between stanzas, such as a keep-alive, needs no parser.
    private func rests(through bytes: UnsafeRawBufferPointer, _ handler: (StreamEvent) -> Directive) -> Bool {
        for byte in bytes where byte != 0x20 && byte != 0x0A && byte != 0x0D && byte != 0x09 { return false }
        whitespace = whitespace &+ UInt32(clamping: bytes.count)
        if whitespace > limits.maxWhitespaceBytes {
            phase = .ended
            _ = handler(.failed(StreamError(.tooLarge(.whitespace))))
        }
        return true
    }

    /// Reads what the parser has left, with a new one when the handler has restarted the stream.
    private func finish(_ handler: (StreamEvent) -> Directive) {
        while true {
            if phase == .ended {
                if isStopped, let parser { leftover = parser.takeLeftover() + leftover }
                dismissParser()
            }
            if mustRestart { becomeNew() }
            guard phase != .ended, !isPaused, !isStopped, !leftover.isEmpty else { return }
            let bytes = leftover
            leftover = []
            let parser = borrow()
            isBusy = true
            parser.feed(bytes) { take($0, handler) }
            isBusy = false
        }
    }

    private func take(_ event: XMLEvent, _ handler: (StreamEvent) -> Directive) -> Directive {
        var directive: Directive
        switch event {
        case .opened(let root):
            switch header(of: root) {
            case .success(let header):
                prologue = pool.share(root.prologue)
                phase = .open
                directive = handler(.opened(header))
            case .failure(let error):
                phase = .ended
                _ = handler(.failed(error))
                return .stop
            }
        case .element(let tree):
            directive = handler(.element(tree))
        case .closed:
            phase = .ended
            directive = handler(.closed)
        case .failed(let fault):
            phase = .ended
            directive = handler(.failed(StreamError(fault)))
        }
        if phase != .ended {
            if directive == .pause { isPaused = true }
            if directive == .stop { (phase, isStopped) = (.ended, true) }
        }
        if mustRestart { directive = .stop }
        return directive
    }

    /// Forgets the old stream but for the bytes behind its end.
    private func becomeNew() {
        mustRestart = false
        if let parser { leftover = parser.takeLeftover() + leftover }
        dismissParser()
        (prologue, whitespace) = (nil, 0)
        phase = .closed
    }

    /// RFC 6120 §4.8: the root is a `stream` of the streams' namespace, and the content namespace is the one spoken
    /// here, declared as the default unless that is the streams' own.
    private func header(of root: XMLRoot) -> Result<StreamHeader, StreamError> {
        let element = root.element
        guard element.namespace == .streams else { return .failure(.invalidNamespace) }
        guard element.isNamed("stream") else { return .failure(.badFormat) }
        guard root.defaultNamespace == contentNamespace || root.defaultNamespace == .streams else {
            return .failure(.invalidNamespace)
        }
        return .success(StreamHeader(element, contentNamespace))
    }

    // MARK: Writing

    public func writeOpen(_ header: StreamHeader, into output: OutputBuffer) {
        output.append("<?xml version='1.0'?><stream:stream")
        let writer = XMLWriter(output)
        writer.attribute("xmlns", header.contentNamespace.uri)
        output.append(" xmlns:stream='http://etherx.jabber.org/streams'")
        header.writeAttributes(writer)
        output.append(">")
    }

    public func writeClose(into output: OutputBuffer) {
        output.append("</stream:stream>")
    }

    public func write(_ stanza: Stanza, to recipient: JID?, into output: OutputBuffer) {
        stanza.write(
            into: output, inheriting: contentNamespace, contentNamespace: contentNamespace, recipient: recipient)
    }

    public func write(_ stanza: RenderedStanza, to recipient: JID?, into output: OutputBuffer) {
        stanza.write(recipient: recipient, into: output)
    }

    public func write(_ element: Element, into output: OutputBuffer) {
        element.write(into: output, prefixDeclared: true, inheriting: contentNamespace)
    }

    public func render(_ stanza: Stanza) -> RenderedStanza {
        stanza.rendered(inheriting: contentNamespace, contentNamespace: contentNamespace)
    }
}

extension StreamHeader {
    init(_ element: ElementView, _ contentNamespace: Namespace) {
        self.init(
            to: element.attribute("to"), from: element.attribute("from"), id: element.attribute("id"),
            version: element.attribute("version"), language: element.language, contentNamespace: contentNamespace)
    }

    func writeAttributes(_ writer: XMLWriter) {
        if let from { writer.attribute("from", from) }
        if let to { writer.attribute("to", to) }
        if let id { writer.attribute("id", id) }
        if let version { writer.attribute("version", version) }
        if let language { writer.attribute("xml:lang", language) }
    }
}

extension Element {
    /// Writes an element of the stream itself; `stream:features` and `stream:error` keep the prefix that clients look
    /// for.
    func write(into output: OutputBuffer, prefixDeclared: Bool, inheriting: Namespace) {
        let writer = XMLWriter(output)
        guard namespace == Namespace.streams.uri else { return writer.write(self, inheriting: inheriting) }
        output.append("<stream:")
        output.append(raw: name)
        if !prefixDeclared { output.append(" xmlns:stream='http://etherx.jabber.org/streams'") }
        guard !children.isEmpty else { return output.append("/>") }
        output.append(">")
        for child in children {
            switch child {
            case .element(let element): writer.write(element, inheriting: inheriting)
            case .text(let text): writer.text(text)
            }
        }
        output.append("</stream:")
        output.append(raw: name)
        output.append(">")
    }
}
