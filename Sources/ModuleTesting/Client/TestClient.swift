public import XMPPCore
internal import XMPPStream
internal import XMPPTransport

/// An XMPP client in memory: logs in by the real negotiation, and afterwards says what the test has it say. It lives
/// on no loop; what it hears it hears in steps of the simulation.
public final class TestClient {
    public enum Mechanism: Hashable, Sendable {
        case scramSHA512
        case scramSHA256
        case scramSHA1
        /// Over TLS, as far as memory can.
        case plain
        /// Over TLS, with `certificate`.
        case external
        case anonymous
    }

    public enum FramingKind: Hashable, Sendable, CaseIterable {
        /// RFC 6120.
        case stream
        /// RFC 7395.
        case messages
    }

    public struct Options: Sendable {
        public var mechanism = Mechanism.scramSHA256
        public var framing = FramingKind.stream
        public var password = "secret"
        /// The addresses in a certificate that the server believes.
        public var certificate: [String] = []
        /// Where it connects from.
        public var peer = "192.0.2.1"
        /// Does not authenticate: what it does on the open stream is the test's.
        public var staysOutside = false
        /// Authenticates, and neither resumes nor binds by itself.
        public var staysUnbound = false
        /// Speaks STARTTLS, as far as memory can.
        public var startsTLS = false
        /// Enables stream management with resumption.
        public var management = false
        /// Sends presence of this priority when the session is there; nil: none.
        public var priority: Int? = 0

        public init() {}
    }

    public enum Phase: Hashable, Sendable {
        case offline
        /// Connected, not yet a session.
        case negotiating
        case ready
    }

    public let account: BareJID
    public let resource: String
    public var options: Options
    public private(set) var phase = Phase.offline
    /// As the server bound it.
    public private(set) var address: JID?
    /// The answer that bound the resource.
    public private(set) var bindAnswer: Element?
    /// Stanzas that no `expect` has taken yet, without the echo of the own presence.
    public var inbox: [Element] = []
    /// Stream errors, failures of SASL and of stream management.
    public private(set) var errors: [Element] = []
    /// White space that the server sent by itself.
    public private(set) var keepalives = 0
    /// False: leaves what comes in the network.
    public var isReading = true

    // MARK: Stream management

    /// Answers `<r/>` at once.
    public var answersRequests = true
    /// The id under which the session can be resumed.
    public private(set) var resumeID: String?
    /// Stanzas of the server that this client has handled.
    public private(set) var handled: UInt32 = 0
    /// How many of its own the server has acknowledged.
    public private(set) var acknowledged: UInt32 = 0
    /// Stanzas that the server has not acknowledged, oldest first.
    public private(set) var unacknowledged: [Element] = []
    /// Stanzas are counted, from `<enabled/>` on.
    public private(set) var isManaged = false
    private var isResuming = false
    private var resumedH: UInt32 = 0

    // MARK: For simulations

    /// A stanza came; true: to a connection without stream management that the client had lost by then.
    public var onStanza: ((Element, Bool) -> Void)?
    /// The server began to read this stanza.
    public var onArrived: ((Element) -> Void)?
    /// The server has learned that the client has so many. Who is told is settled when the client says it.
    public var onAcknowledged: ((UInt32) -> Void)?
    /// Sent once more: after a resumption (true), or in a new session.
    public var onResent: ((Element, Bool) -> Void)?
    /// The server has let a connection of this client go; true: one with stream management, as far as the client knows.
    public var onServerEnded: ((Bool) -> Void)?
    /// The session is gone and cannot be resumed.
    public var onSessionLost: (() -> Void)?

    private var stream: ClientStream?
    /// Leads to the server that it uses from its next connection on.
    var connect: (TestClient) -> MemoryTransport
    private var scram: ScramLogin?

    init(
        _ account: BareJID, resource: String, _ options: Options,
        connect: @escaping (TestClient) -> MemoryTransport
    ) {
        self.account = account
        self.resource = resource
        self.options = options
        self.connect = connect
    }

    // MARK: Connecting

    /// It reads whatever a server writes: what the limits let in is longer when it is written again.
    func makeStream() -> ClientStream {
        let framing: any Framing =
            switch options.framing {
            case .stream: TCPStreamFraming(pool: ParserPool(capacity: 0), limits: .stored)
            case .messages: MessageFraming(pool: ParserPool(capacity: 0), limits: .stored)
            }
        return ClientStream(framing, of: self)
    }

    func attach(_ stream: ClientStream) {
        self.stream = stream
    }

    /// Opens a connection and begins to log in; resumes the session if there is one to resume.
    public func logIn() {
        if stream != nil { cut() }
        phase = .negotiating
        isResuming = resumeID != nil
        _ = connect(self)
        stream?.open(to: account.domain)
    }

    /// The network is gone, now and in both directions; of what was under way to the server all but the last `lost`
    /// pieces arrive.
    public func cut(losing lost: Int = 0) {
        stream?.cut(losing: lost)
        leave()
    }

    /// Pieces on their way to the server.
    public var piecesInFlight: Int { stream?.transport?.piecesInFlight ?? 0 }

    /// Ends the stream in order; with it the session.
    public func end() {
        resumeID = nil
        stream?.close()
    }

    /// Claims a session that is another client's, and to have handled so many of its stanzas.
    public func pretend(resumeID id: String, handled count: UInt32) {
        (resumeID, handled) = (id, count)
    }

    /// Will not send again what the server has not acknowledged.
    public func forget() {
        isForgetful = true
    }

    private var isForgetful = false

    private func leave() {
        stream = nil
        phase = .offline
        if resumeID == nil { lose() }
    }

    private func lose() {
        resumeID = nil
        isManaged = false
        onSessionLost?()
    }

    /// The server ended the stream: an error or an answer to ours. Either way the session is over, unless the server
    /// only cut the connection.
    func connectionEnded(_ stream: ClientStream) {
        guard stream === self.stream else { return }
        leave()
    }

    func keptAlive() {
        keepalives += 1
    }

    func record(_ element: Element) {
        errors.append(element)
    }

    // MARK: Sending

    /// One or more stanzas or other elements, as a client writes them (`jabber:client` is the default namespace).
    public func send(_ xml: String) {
        for element in Self.elements(xml) { send(element) }
    }

    public func send(_ element: Element) {
        let isStanza = element.namespace == Namespace.client.uri
        if isStanza, isManaged { unacknowledged.append(element) }
        stream?.send(element) { [weak self] in
            if isStanza { self?.onArrived?(element) }
        }
    }

    /// Bytes as they are.
    public func sendRaw(_ text: String) {
        stream?.sendRaw(Array(text.utf8))
    }

    /// `<a/>` with what was handled.
    public func acknowledge() {
        guard isManaged, phase == .ready else { return }
        let h = handled
        // To whom it is said now, even if it is read later.
        let listener = onAcknowledged
        stream?.send(Element("a", .streamManagement, ["h": String(h)])) { listener?(h) }
    }

    public func requestAcknowledgement() {
        guard isManaged, phase == .ready else { return }
        stream?.send(Element("r", .streamManagement))
    }

    public func sendPresence(_ priority: Int) {
        send("<presence><priority>\(priority)</priority></presence>")
    }

    static func elements(_ xml: String) -> [Element] {
        guard let tree = try? XMLTree(parsing: "<x xmlns='jabber:client'>\(xml)</x>") else {
            preconditionFailure("the test's XML is none: \(xml)")
        }
        return tree.root.element.elements
    }

    // MARK: Receiving

    func received(_ element: Element, on stream: ClientStream) {
        if element.namespace == Namespace.streamManagement.uri, ["enabled", "resumed"].contains(element.name) {
            stream.isManaged = true
        }
        if stream.isGhost {
            if element.namespace == Namespace.client.uri, !stream.isManaged { onStanza?(element, true) }
            return
        }
        guard stream === self.stream else { return }
        if element.namespace == Namespace.client.uri, phase == .ready { return stanza(element) }
        switch (element.namespace, element.name) {
        case (Namespace.streams.uri, "features"): features(element)
        case (Namespace.streams.uri, _):
            errors.append(element)
            // A session that was ended by an error cannot be resumed; before it has a session again, the error is the
            // connection's alone.
            if phase == .ready { resumeID = nil }
        case (Namespace.tls.uri, "proceed"):
            stream.framing.restart()
            stream.open(to: account.domain)
        case (Namespace.sasl.uri, _): sasl(element)
        case (Namespace.streamManagement.uri, _): management(element)
        case (Namespace.client.uri, "iq") where element[attribute: "id"] == "bind": bound(element)
        // Already bound, and stream management is not there yet: it does not count.
        case (Namespace.client.uri, _): stanza(element)
        default: errors.append(element)
        }
    }

    private func stanza(_ element: Element) {
        if isManaged { handled &+= 1 }
        onStanza?(element, false)
        if element.name == "presence", element[attribute: "from"] == address?.description { return }
        inbox.append(element)
    }

    /// What the server offers on the stream as it is.
    public private(set) var offered: Element?

    private func features(_ features: Element) {
        offered = features
        if options.startsTLS, features.first("starttls", .tls) != nil {
            stream?.send(Element("starttls", .tls))
        } else if features.first("mechanisms", .sasl) != nil {
            authenticate()
        } else if options.staysUnbound {
            return
        } else if isResuming, let resumeID {
            let h = handled
            let element = Element("resume", .streamManagement, ["previd": resumeID, "h": String(h)])
            resumedH = h
            stream?.send(element)
        } else {
            bind()
        }
    }

    private func authenticate() {
        guard !options.staysOutside else { return }
        var auth = Element("auth", .sasl)
        switch options.mechanism {
        case .plain:
            auth[attribute: "mechanism"] = "PLAIN"
            auth.appendText(Base64.encode(Array("\0\(account.local)\0\(options.password)".utf8)))
        case .external:
            auth[attribute: "mechanism"] = "EXTERNAL"
            auth.appendText("=")
        case .anonymous: auth[attribute: "mechanism"] = "ANONYMOUS"
        case .scramSHA1, .scramSHA256, .scramSHA512:
            let hash: HashFunction =
                switch options.mechanism {
                case .scramSHA1: .sha1
                case .scramSHA512: .sha512
                default: .sha256
                }
            let scram = ScramLogin(hash, user: account.local, password: options.password)
            self.scram = scram
            auth[attribute: "mechanism"] = "SCRAM-\(hash.rawValue)"
            auth.appendText(Base64.encode(Array(scram.first.utf8)))
        }
        stream?.send(auth)
    }

    private func sasl(_ element: Element) {
        switch element.name {
        case "challenge":
            let challenge = Base64.decode(element.text).map { String(decoding: $0, as: UTF8.self) }
            guard let answer = challenge.flatMap({ scram?.final(for: $0) }) else { return errors.append(element) }
            var response = Element("response", .sasl)
            response.appendText(Base64.encode(Array(answer.utf8)))
            stream?.send(response)
        case "success":
            stream?.framing.restart()
            stream?.open(to: account.domain)
        default: errors.append(element)
        }
    }

    private func bind() {
        var bind = Element("bind", .bind)
        if !resource.isEmpty {
            var child = Element("resource", .bind)
            child.appendText(resource)
            bind.append(child)
        }
        var iq = Element("iq", .client, ["type": "set", "id": "bind"])
        iq.append(bind)
        stream?.send(iq)
    }

    private func bound(_ element: Element) {
        guard element[attribute: "type"] == "result",
            let text = element.first("bind", .bind)?.first("jid", .bind)?.text, let address = JID(text)
        else { return errors.append(element) }
        self.address = address
        bindAnswer = element
        if options.management {
            stream?.send(Element("enable", .streamManagement, ["resume": "true"]))
            // From here on its own stanzas count (XEP-0198 §3).
            acknowledged = 0
        } else {
            begin()
        }
    }

    private func begin() {
        phase = .ready
        let unsent = unacknowledged
        unacknowledged = []
        if let priority = options.priority { sendPresence(priority) }
        for element in unsent {
            onResent?(element, false)
            send(element)
        }
    }

    private func management(_ element: Element) {
        let h = element[attribute: "h"].flatMap { UInt32($0) }
        switch element.name {
        case "enabled":
            resumeID = element[attribute: "id"]
            (isManaged, handled) = (true, 0)
            begin()
        case "r": if answersRequests { acknowledge() }
        case "a": if let h { acknowledged(h) }
        case "resumed":
            if let h { acknowledged(h) }
            if isForgetful { unacknowledged = [] }
            (phase, isResuming) = (.ready, false)
            onAcknowledged?(resumedH)
            // What the server has not got, once more (XEP-0198 §5).
            for element in unacknowledged {
                onResent?(element, true)
                stream?.send(element) { [weak self] in self?.onArrived?(element) }
            }
        case "failed":
            guard phase != .ready, isResuming else { return errors.append(element) }
            // The old session is gone; what it had handled is known only if it says so.
            if let h { acknowledged(h) }
            isResuming = false
            unacknowledged.removeAll { $0.name != "message" }
            lose()
            bind()
        default: errors.append(element)
        }
    }

    private func acknowledged(_ h: UInt32) {
        let count = Int(h &- acknowledged)
        guard count <= unacknowledged.count else {
            return errors.append(Element("handled-count-too-high", .streamManagement, ["h": String(h)]))
        }
        unacknowledged.removeFirst(count)
        acknowledged = h
    }
}
