public import XMPPCore

/// RFC 7395: each message is one document, `<open/>` and `<close/>` among them. In memory; WebSocket comes later.
public final class MessageFraming: Framing {
    private enum Phase: UInt8 { case closed, open, ended }

    public let contentNamespace: Namespace
    public var limits: XMLLimits
    private var phase = Phase.closed
    private var isPaused = false
    private var isBusy = false
    private var pool: ParserPool
    /// Messages that arrived while paused.
    private var waiting: [[UInt8]] = []

    public init(
        pool: ParserPool, limits: XMLLimits = .unauthenticated, contentNamespace: Namespace = .client
    ) {
        (self.pool, self.limits, self.contentNamespace) = (pool, limits, contentNamespace)
    }

    public var isMessageBased: Bool { true }

    // MARK: Reading

    public func feed(_ bytes: UnsafeRawBufferPointer, _ handler: (StreamEvent) -> Directive) {
        guard phase != .ended else { return }
        guard !isPaused, !isBusy else { return waiting.append(Array(bytes)) }
        isBusy = true
        read(bytes, handler)
        isBusy = false
        drain(handler)
    }

    public func resume(_ handler: (StreamEvent) -> Directive) {
        guard isPaused, !isBusy else { return }
        isPaused = false
        drain(handler)
    }

    /// Always empty: what was not read are whole messages, and they are dropped by `.stop`.
    public func takeLeftover() -> [UInt8] { [] }

    public func restart() {
        phase = .closed
    }

    public func rest() {}

    public func move(to pool: ParserPool) {
        self.pool = pool
    }

    private func drain(_ handler: (StreamEvent) -> Directive) {
        while !isPaused, phase != .ended, !waiting.isEmpty {
            let message = waiting.removeFirst()
            isBusy = true
            message.withUnsafeBytes { read($0, handler) }
            isBusy = false
        }
        if phase == .ended { waiting = [] }
    }

    private func read(_ bytes: UnsafeRawBufferPointer, _ handler: (StreamEvent) -> Directive) {
        switch tree(bytes) {
        case .failure(let fault): fail(StreamError(fault), handler)
        case .success(let tree): deliver(tree, handler)
        }
    }

    /// The one element of a message, once it is sure that nothing else is in it.
    private func tree(_ bytes: UnsafeRawBufferPointer) -> Result<XMLTree, XMLFault> {
        // RFC 7395 §3.3: the first character of a message is that of the element.
        guard bytes.first == UInt8(ascii: "<") else { return .failure(.notWellFormed) }
        let parser = pool.take(.standalone, limits)
        parser.whitespace = 0
        var found: XMLTree?
        var fault: XMLFault?
        parser.feed(bytes) { event in
            switch event {
            case .element(let tree) where found == nil:
                found = tree
                return .proceed
            case .failed(let reason):
                fault = reason
            case .element, .opened, .closed:
                fault = .notWellFormed
            }
            return .stop
        }
        if let fault { return .failure(fault) }
        guard let found, parser.isAtRest else { return .failure(.incomplete) }
        pool.give(back: parser, .standalone)
        return .success(found)
    }

    private func deliver(_ tree: XMLTree, _ handler: (StreamEvent) -> Directive) {
        let root = tree.root
        let event: StreamEvent
        if root.namespace == .framing {
            if root.isNamed("open") {
                guard phase == .closed else { return fail(.badFormat.saying("already open"), handler) }
                phase = .open
                event = .opened(StreamHeader(root, contentNamespace))
            } else if root.isNamed("close"), phase == .open {
                phase = .ended
                event = .closed
            } else {
                return fail(.badFormat, handler)
            }
        } else if phase == .open {
            event = .element(tree)
        } else {
            return fail(root.isNamed("open") ? .invalidNamespace : .badFormat, handler)
        }
        switch handler(event) {
        case .proceed: break
        case .pause: if phase != .ended { isPaused = true }
        case .stop: phase = .ended
        }
    }

    private func fail(_ error: StreamError, _ handler: (StreamEvent) -> Directive) {
        phase = .ended
        waiting = []
        _ = handler(.failed(error))
    }

    // MARK: Writing

    public func writeOpen(_ header: StreamHeader, into output: OutputBuffer) {
        output.append("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'")
        header.writeAttributes(XMLWriter(output))
        output.append("/>")
    }

    public func writeClose(into output: OutputBuffer) {
        output.append("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    }

    public func write(_ stanza: Stanza, to recipient: JID?, into output: OutputBuffer) {
        stanza.write(into: output, contentNamespace: contentNamespace, recipient: recipient)
    }

    public func write(_ stanza: RenderedStanza, to recipient: JID?, into output: OutputBuffer) {
        stanza.write(recipient: recipient, into: output)
    }

    public func write(_ element: Element, into output: OutputBuffer) {
        element.write(into: output, prefixDeclared: false, inheriting: .empty)
    }

    public func render(_ stanza: Stanza) -> RenderedStanza {
        stanza.rendered(contentNamespace: contentNamespace)
    }
}
