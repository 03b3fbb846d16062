internal import Synchronization
public import XML

/// A message, presence or IQ (RFC 6120 §8): an immutable tree, and the two addresses that the server decides on.
///
/// Shared by reference, between loops too. `from` and `to` stand over the tree's own attributes, and `appended` follows
/// what the tree contains, so that stamping and re-addressing copies nothing.
public final class Stanza: Sendable {
    public enum Kind: UInt8, Sendable, Hashable {
        case message, presence, iq
    }

    /// What the server says of its own accord: results of an archive, copies for other devices, events. Nobody is owed
    /// its keeping, and it is neither kept, archived nor copied.
    public enum Notice: UInt8, Sendable, Hashable {
        /// Nobody waits for it.
        case patient
        /// It carries what a person waits for.
        case urgent
    }

    /// The values of `type`, of all kinds together.
    public enum StanzaType: UInt8, Sendable, Hashable {
        case normal, chat, groupchat, headline
        case error
        case available, unavailable, subscribe, subscribed, unsubscribe, unsubscribed, probe
        case get, set, result
    }

    public let tree: XMLTree
    public let kind: Kind
    public let type: StanzaType
    public let from: JID?
    public let to: JID?
    /// Written behind the tree's own children.
    public let appended: [Element]
    /// Whether the server says this of its own accord; see `asNotice`.
    public let notice: Notice?
    /// What the stanza's language is if it does not say itself (RFC 6120 §8.1.5).
    let defaultLanguage: String?
    /// 0 until it is asked for; two loops may both work it out, to the same end.
    private let cachedClassification: Atomic<UInt32>

    private init(
        _ tree: XMLTree, _ kind: Kind, _ type: StanzaType, from: JID?, to: JID?, appended: [Element] = [],
        notice: Notice? = nil, language: String? = nil, classification: UInt32 = 0
    ) {
        (self.tree, self.kind, self.type, self.from, self.to) = (tree, kind, type, from, to)
        self.appended = appended
        self.notice = notice
        defaultLanguage = language
        cachedClassification = Atomic(classification)
    }

    /// A stanza as it came in.
    ///
    /// Throws `jid-malformed` for an address that is none, `bad-request` for a type that the kind has not, and for an
    /// IQ without id or with the wrong number of payloads (RFC 6120 §8.2.3). A message of an unknown type is `normal`
    /// (RFC 6121 §5.2.2).
    public convenience init(_ tree: XMLTree) throws(StanzaError) {
        let from = try Self.sender(tree.root, nil)
        try self.init(tree, from: from, nil, nil)
    }

    /// A stanza as a client of ours sent it, under that client's address whatever it says itself, and in the language
    /// of its stream if it says none.
    public convenience init(
        _ tree: XMLTree, from sender: JID, language: String? = nil, addresses: AddressCache
    ) throws(StanzaError) {
        try self.init(tree, from: sender, language, addresses)
    }

    private convenience init(
        _ tree: XMLTree, from: JID?, _ language: String?, _ addresses: AddressCache?
    ) throws(StanzaError) {
        defer { withExtendedLifetime(tree) {} }
        guard let kind = Self.kind(of: tree) else { throw .badRequest }
        let root = tree.root
        let values = root.standard
        guard let type = Self.type(values.type, kind) ?? (kind == .message ? .normal : nil) else {
            throw .badRequest.saying("unknown type")
        }
        let to = try Self.address(values.to, addresses)
        if kind == .iq {
            guard values.id?.isEmpty == false else { throw .badRequest.saying("no id") }
            var children = root.children
            let hasPayload = children.next() != nil
            let hasMore = children.next() != nil
            switch type {
            case .get, .set: if !hasPayload || hasMore { throw .badRequest.saying("not exactly one payload") }
            case .result: if hasMore { throw .badRequest.saying("more than one payload") }
            default: break
            }
        }
        let isSilent = language != nil && root.language == nil
        self.init(tree, kind, type, from: from, to: to, language: isSilent ? language : nil)
    }

    /// A stanza that code has made: a wrong type counts as the kind's default, an address that is none as missing, and
    /// an element that is no stanza as a message.
    public convenience init(_ element: Element) {
        self.init(trusted: XMLTree(element))
    }

    /// A stanza that this server wrote before, such as one from storage; lenient like `init(_: Element)`.
    public convenience init(trusted tree: XMLTree) {
        let root = tree.root
        let kind = Self.kind(of: tree) ?? .message
        let values = root.standard
        let type = Self.type(values.type, kind) ?? (kind == .iq ? .result : kind == .presence ? .available : .normal)
        let from = values.from.flatMap { JID(utf8: $0) }
        let to = values.to.flatMap { JID(utf8: $0) }
        self.init(tree, kind, type, from: from, to: to)
        withExtendedLifetime(tree) {}
    }

    /// What kind of stanza an element is; nil: none.
    public static func kind(of tree: XMLTree) -> Kind? {
        let root = tree.root
        guard let namespace = root.namespace, namespace == .client || namespace == .server || namespace == .component
        else { return nil }
        if root.isNamed("message") { return .message }
        if root.isNamed("presence") { return .presence }
        return root.isNamed("iq") ? .iq : nil
    }

    public var root: ElementView { tree.root }
    public var id: String? { root.attribute("id") }
    public var language: String? { root.language ?? defaultLanguage }

    /// The bits of the namespaces among the payloads, `appended` ones included.
    public var namespaces: UInt64 {
        var bits = tree.payloadNamespaces
        for element in appended { bits |= Namespace.known(element.namespace)?.bit ?? 0 }
        return bits
    }

    /// Bytes that keeping this stanza costs, for quotas.
    public var byteCount: Int { appended.reduce(tree.byteCount + 112) { $0 + $1.byteCount } }

    public var isMessage: Bool { kind == .message }
    public var isPresence: Bool { kind == .presence }
    public var isIQ: Bool { kind == .iq }
    public var isError: Bool { type == .error }
    /// An IQ that asks: it has to be answered.
    public var isRequest: Bool { type == .get || type == .set }

    /// The first child element, of an IQ its only one.
    public var payload: ElementView? { root.firstElement }

    /// The error that a stanza of type `error` reports.
    public var error: StanzaError? {
        guard isError, let namespace = root.namespace else { return nil }
        return root.first("error", namespace).map(StanzaError.init(reading:)) ?? .undefinedCondition
    }

    public var classification: Classification {
        let cached = cachedClassification.load(ordering: .relaxed)
        if cached != 0 { return Classification(rawValue: cached) }
        let fresh = Classification(of: self)
        cachedClassification.store(fresh.rawValue, ordering: .relaxed)
        return fresh
    }

    // MARK: Variants

    /// The same content under other addresses; shares the tree.
    public func with(from: JID?, to: JID?) -> Stanza {
        let cached = cachedClassification.load(ordering: .relaxed)
        return Stanza(
            tree, kind, type, from: from, to: to, appended: appended, notice: notice, language: defaultLanguage,
            classification: cached)
    }

    public func with(from: JID?) -> Stanza { with(from: from, to: to) }

    public func with(to: JID?) -> Stanza { with(from: from, to: to) }

    /// The same with one more element at its end; shares the tree.
    public func appending(_ element: Element) -> Stanza {
        appending([element])
    }

    public func appending(_ elements: [Element]) -> Stanza {
        Stanza(
            tree, kind, type, from: from, to: to, appended: appended + elements, notice: notice,
            language: defaultLanguage)
    }

    /// The same as something that the server says of its own accord. It says so where the stanza is made, because
    /// nobody can see it in the stanza later.
    public func asNotice(_ notice: Notice = .patient) -> Stanza {
        Stanza(tree, kind, type, from: from, to: to, appended: appended, notice: notice, language: defaultLanguage)
    }

    /// The same as one value, addresses and appended elements included: for changing what is inside.
    public var element: Element {
        var element = root.element
        element[attribute: "from"] = from?.description
        element[attribute: "to"] = to?.description
        element.language = language
        for extra in appended { element.append(extra) }
        return element
    }

    // MARK: Replies

    /// The result of this request, from its addressee to its sender.
    public func reply(result: Element? = nil) -> Stanza {
        var reply = Element("iq", root.namespace ?? .client)
        reply[attribute: "type"] = "result"
        reply[attribute: "id"] = id
        if let result { reply.append(result) }
        return Stanza(XMLTree(reply), .iq, .result, from: to, to: from)
    }

    /// The same stanza back with an error, without its content (RFC 6120 §8.3.1 leaves that to us).
    ///
    /// Never send one in answer to a stanza of type `error` or `result`: `canBeRejected` tells.
    public func reply(error: StanzaError) -> Stanza {
        var reply = Self.rejection(of: tree, error)
        reply[attribute: "from"] = nil
        reply[attribute: "to"] = nil
        return Stanza(XMLTree(reply), kind, .error, from: to, to: from)
    }

    /// Whether an error may be sent in answer (RFC 6120 §8.3.1).
    public var canBeRejected: Bool { type != .error && type != .result }

    /// The answer to something that could not become a stanza; nil when there must be none.
    public static func rejection(of tree: XMLTree, because error: StanzaError) -> Stanza? {
        let root = tree.root
        let isAnswer = root.attribute("type", is: "error") || root.attribute("type", is: "result")
        guard kind(of: tree) != nil, !isAnswer else { return nil }
        return Stanza(rejection(of: tree, error))
    }

    private static func rejection(of tree: XMLTree, _ error: StanzaError) -> Element {
        let root = tree.root
        let namespace = root.namespace ?? .client
        var reply = Element(root.name, namespace)
        reply[attribute: "type"] = "error"
        // §8.3.1: that of an IQ always has one.
        reply[attribute: "id"] = root.attribute("id") ?? (root.isNamed("iq") ? "" : nil)
        reply[attribute: "from"] = root.attribute("to")
        reply[attribute: "to"] = root.attribute("from")
        var child = error.element
        child.namespace = namespace.uri
        reply.append(child)
        return reply
    }

    // MARK: Reading

    /// Whom the stanza says it is from; throws `jid-malformed`.
    public static func sender(_ root: ElementView, _ addresses: AddressCache?) throws(StanzaError) -> JID? {
        defer { withExtendedLifetime(root) {} }
        return try address(root.standard.from, addresses)
    }

    private static func address(
        _ bytes: UnsafeBufferPointer<UInt8>?, _ addresses: AddressCache?
    ) throws(StanzaError) -> JID? {
        guard let bytes else { return nil }
        guard let address = addresses.map({ $0.address(bytes) }) ?? JID(utf8: bytes) else { throw .jidMalformed }
        return address
    }

    /// nil: not a type of that kind.
    private static func type(_ bytes: UnsafeBufferPointer<UInt8>?, _ kind: Kind) -> StanzaType? {
        guard let bytes else { return kind == .iq ? nil : kind == .message ? .normal : .available }
        return switch kind {
        case .message: message(type: bytes)
        case .presence: presence(type: bytes)
        case .iq: iq(type: bytes)
        }
    }

    private static func message(type bytes: UnsafeBufferPointer<UInt8>) -> StanzaType? {
        if bytes.spell("chat") { return .chat }
        if bytes.spell("groupchat") { return .groupchat }
        if bytes.spell("normal") { return .normal }
        if bytes.spell("headline") { return .headline }
        return bytes.spell("error") ? .error : nil
    }

    private static func presence(type bytes: UnsafeBufferPointer<UInt8>) -> StanzaType? {
        if bytes.spell("unavailable") { return .unavailable }
        if bytes.spell("probe") { return .probe }
        if bytes.spell("subscribe") { return .subscribe }
        if bytes.spell("subscribed") { return .subscribed }
        if bytes.spell("unsubscribe") { return .unsubscribe }
        if bytes.spell("unsubscribed") { return .unsubscribed }
        return bytes.spell("error") ? .error : nil
    }

    private static func iq(type bytes: UnsafeBufferPointer<UInt8>) -> StanzaType? {
        if bytes.spell("result") { return .result }
        if bytes.spell("get") { return .get }
        if bytes.spell("set") { return .set }
        return bytes.spell("error") ? .error : nil
    }
}

extension UnsafeBufferPointer<UInt8> {
    @inline(__always)
    fileprivate func spell(_ word: StaticString) -> Bool {
        guard count == word.utf8CodeUnitCount else { return false }
        for index in 0..<count where self[index] != word.utf8Start[index] { return false }
        return true
    }
}

extension Stanza: CustomStringConvertible {
    public var description: String {
        let output = OutputBuffer(capacity: 512)
        write(into: output, contentNamespace: root.namespace ?? .client)
        return output.description
    }
}
