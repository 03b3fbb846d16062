internal import CExpat
internal import Glibc

/// What expat's callbacks work on. They only write here and stop expat; whoever called expat looks afterwards, so that
/// nobody's code runs, and nothing is freed, inside a callback.
struct ParserState {
    /// Set by callbacks, taken by the parser; in this order.
    struct Pending: OptionSet {
        let rawValue: UInt8
        static let opened = Pending(rawValue: 1)
        static let element = Pending(rawValue: 2)
        static let closed = Pending(rawValue: 4)
    }

    var expat: XML_Parser
    /// The table of namespaces, without the check that it exists.
    let known = NamespaceTable.shared.entries
    var scratch = TreeScratch()
    var limits: XMLLimits
    var pending: Pending = []
    var fault: XMLFault?
    /// Elements open, the root included.
    var depth = 0
    /// Where the stanza being read began, in bytes of this expat.
    var elementStart = 0
    /// Bytes of the namespaces that a prefix stands for, each as often as it is used in this stanza.
    var prefixed = 0
    /// White space since the last stanza.
    var whitespace = 0
    /// Reading the prologue: no events.
    var isPriming = false
    /// The root, until its event is taken.
    var rootTree: XMLTree?
    var rootName: [UInt8] = []
    var declarations: [Declaration] = []

    struct Declaration {
        let prefix: [UInt8]
        let uri: [UInt8]
    }

    /// Joins the name of a namespace and a local name in what expat reports; it cannot occur in XML.
    static let separator: UInt8 = 1
    /// Longest name of a namespace, and of an element or attribute: expat copies it for each use.
    static let maxNamespaceBytes = 1024
    static let maxNameBytes = 1024
    /// Most namespaces unknown to code in one stanza.
    static let maxNamespaces = 256

    // MARK: Callbacks

    mutating func start(_ name: UnsafePointer<UInt8>, _ attributes: UnsafeMutablePointer<UnsafePointer<CChar>?>) {
        if fault != nil { return }
        if isPriming {
            depth += 1
            return
        }
        let token = Int(XML_GetCurrentByteCount(expat))
        let index = Int(XML_GetCurrentByteIndex(expat))
        if depth <= 1 {
            elementStart = index
            prefixed = 0
            whitespace = 0
        }
        guard token <= limits.maxTokenBytes else { return fail(.tooLarge(.token)) }
        guard index + token - elementStart <= limits.maxElementBytes else { return fail(.tooLarge(.element)) }
        guard depth <= min(Int(limits.maxDepth), 512) else { return fail(.tooLarge(.depth)) }
        guard scratch.elementCount < limits.maxElements else { return fail(.tooLarge(.elements)) }
        guard open(name, attributes) else { return }
        depth += 1
        if depth == 1 {
            rootName = rawName()
            scratch.close()
            rootTree = scratch.finish()
            pending.insert(.opened)
            pause()
        }
    }

    mutating func end() {
        if fault != nil { return }
        depth -= 1
        switch depth {
        case 0:
            pending.insert(.closed)
            pause()
        case 1:
            scratch.close()
            // Of an empty element both the start and the end are reported; the end then has no bytes of its own.
            let end = Int(XML_GetCurrentByteIndex(expat)) + Int(XML_GetCurrentByteCount(expat))
            guard end - elementStart <= limits.maxElementBytes else { return fail(.tooLarge(.element)) }
            pending.insert(.element)
            pause()
        default:
            scratch.close()
        }
    }

    mutating func text(_ text: UnsafePointer<UInt8>, _ count: Int) {
        if fault != nil { return }
        guard depth > 1 else { return between(text, count) }
        let reach = Int(XML_GetCurrentByteIndex(expat)) + Int(XML_GetCurrentByteCount(expat)) - elementStart
        guard reach <= limits.maxElementBytes else { return fail(.tooLarge(.element)) }
        scratch.text(text, count)
    }

    /// Between stanzas it could only hold white space. It is refused as it begins: a parser within one looks as if it
    /// were between two stanzas, where it might be given to another stream.
    mutating func startCDATA() {
        if depth <= 1 { fail(.textBetweenElements) }
    }

    mutating func declare(_ prefix: UnsafePointer<CChar>?, _ uri: UnsafePointer<CChar>?) {
        if isPriming || fault != nil || depth > 0 { return }
        declarations.append(Declaration(prefix: Self.bytes(prefix), uri: Self.bytes(uri)))
    }

    mutating func xmlDeclaration(_ encoding: UnsafePointer<CChar>?) {
        guard let encoding, strcasecmp(encoding, "UTF-8") != 0 else { return }
        fail(.unsupportedEncoding)
    }

    mutating func fail(_ fault: XMLFault) {
        if self.fault == nil { self.fault = fault }
        _ = XML_StopParser(expat, XML_Bool(XML_FALSE))
    }

    private func pause() {
        _ = XML_StopParser(expat, XML_Bool(XML_TRUE))
    }

    // MARK: Elements

    private mutating func between(_ text: UnsafePointer<UInt8>, _ count: Int) {
        if isPriming { return }
        for index in 0..<count where !Self.isWhitespace(text[index]) { return fail(.textBetweenElements) }
        whitespace += count
        if whitespace > limits.maxWhitespaceBytes { fail(.tooLarge(.whitespace)) }
    }

    /// Adds the element with its attributes; false after a fault.
    private mutating func open(
        _ name: UnsafePointer<UInt8>, _ attributes: UnsafeMutablePointer<UnsafePointer<CChar>?>
    ) -> Bool {
        var namespace: UInt16 = 0
        var local = name
        if !inherits(name, &namespace, &local), !split(name, &namespace, &local, isAttribute: false) {
            return false
        }
        let length = strlen(UnsafeRawPointer(local).assumingMemoryBound(to: CChar.self))
        guard length <= Self.maxNameBytes else {
            fail(.tooLarge(.name))
            return false
        }
        if depth == 1, namespace == Namespace.streams.id, length == 6, memcmp(local, "stream", 6) == 0 {
            fail(.nestedStream)
            return false
        }
        scratch.open(namespace, local, length)
        var next = attributes
        var count = 0
        while let key = next[0], let value = next[1] {
            count += 1
            guard count <= limits.maxAttributes else {
                fail(.tooLarge(.attributes))
                return false
            }
            guard add(key, value) else { return false }
            next += 2
        }
        return true
    }

    private mutating func add(_ key: UnsafePointer<CChar>, _ value: UnsafePointer<CChar>) -> Bool {
        let name = UnsafeRawPointer(key).assumingMemoryBound(to: UInt8.self)
        var namespace: UInt16 = 0
        var local = name
        var length = 0
        while name[length] > Self.separator { length += 1 }
        if name[length] == Self.separator {
            guard split(name, &namespace, &local, isAttribute: true) else { return false }
            length = strlen(UnsafeRawPointer(local).assumingMemoryBound(to: CChar.self))
        }
        guard length <= Self.maxNameBytes else {
            fail(.tooLarge(.name))
            return false
        }
        let content = UnsafeRawPointer(value).assumingMemoryBound(to: UInt8.self)
        scratch.attribute(namespace, local, length, content, strlen(value))
        return true
    }

    /// The usual case: the namespace is that of the element around it.
    @inline(__always)
    private func inherits(
        _ name: UnsafePointer<UInt8>, _ namespace: inout UInt16, _ local: inout UnsafePointer<UInt8>
    ) -> Bool {
        guard scratch.current >= 0 else { return false }
        let parent = scratch.nodes[scratch.current].namespace
        guard parent > 0, parent < Node.local else { return false }
        let entry = known + Int(parent)
        let count = entry.pointee.count
        let bytes = UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self)
        let uri = UnsafeRawPointer(entry.pointee.bytes).assumingMemoryBound(to: CChar.self)
        guard strncmp(bytes, uri, count) == 0, name[count] == Self.separator else { return false }
        namespace = parent
        local = name + count + 1
        return true
    }

    /// Takes namespace and local name apart; false after a fault.
    private mutating func split(
        _ name: UnsafePointer<UInt8>, _ namespace: inout UInt16, _ local: inout UnsafePointer<UInt8>,
        isAttribute: Bool
    ) -> Bool {
        let bytes = UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self)
        guard let separator = strchr(bytes, Int32(Self.separator)) else { return true }
        let count = UnsafePointer(separator) - bytes
        guard count <= Self.maxNamespaceBytes else {
            fail(.tooLarge(.name))
            return false
        }
        guard let found = scratch.namespace(name, count, limit: Self.maxNamespaces) else {
            fail(.tooLarge(.namespaces))
            return false
        }
        namespace = found
        local = name + count + 1
        return weigh(count, found, isAttribute)
    }

    /// A prefix is short and what it stands for is long, and there are no prefixes where the stanza is written again:
    /// without a bound a small stanza could become a huge one. False after a fault.
    @inline(__always)
    private mutating func weigh(_ count: Int, _ namespace: UInt16, _ isAttribute: Bool) -> Bool {
        if !isAttribute, scratch.current >= 0, scratch.nodes[scratch.current].namespace == namespace { return true }
        // The one prefix that stays as it is.
        if namespace == Namespace.xml.id { return true }
        prefixed += count
        guard prefixed <= limits.maxElementBytes else {
            fail(.tooLarge(.namespaces))
            return false
        }
        return true
    }

    // MARK: Root

    /// Makes the event of the root and forgets what it was made of.
    mutating func takeRoot() -> XMLRoot? {
        guard let rootTree else { return nil }
        var tag = [UInt8(ascii: "<")] + rootName
        for declaration in declarations where declaration.prefix != Array("xml".utf8) {
            tag += Array(declaration.prefix.isEmpty ? " xmlns".utf8 : " xmlns:".utf8) + declaration.prefix
            tag += Array("='".utf8)
            let output = OutputBuffer(capacity: declaration.uri.count)
            declaration.uri.withUnsafeBufferPointer { Escape.attribute($0, into: output) }
            output.withBytes { tag += Array($0) }
            tag.append(UInt8(ascii: "'"))
        }
        tag.append(UInt8(ascii: ">"))
        let standard = declarations.last { $0.prefix.isEmpty }?.uri
        let known = standard.map { $0.withUnsafeBufferPointer { Namespace.known($0) } } ?? nil
        let root = XMLRoot(element: rootTree.root, defaultNamespace: known, prologue: XMLPrologue(bytes: tag))
        self.rootTree = nil
        (rootName, declarations) = ([], [])
        XML_SetStartNamespaceDeclHandler(expat, nil)
        return root
    }

    /// The name of the tag just reported as it was sent, prefix and all: expat compares the end tag with it.
    private func rawName() -> [UInt8] {
        guard let (rest, count) = unread() else { return [] }
        let tag = UnsafeBufferPointer(start: rest, count: count).dropFirst()
        return Array(tag.prefix { !Self.isWhitespace($0) && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ">") })
    }

    /// Bytes from the current event on; good until expat is called again.
    func unread() -> (UnsafePointer<UInt8>, Int)? {
        var offset: Int32 = 0
        var size: Int32 = 0
        guard let base = XML_GetInputContext(expat, &offset, &size), size >= offset else { return nil }
        return (UnsafeRawPointer(base + Int(offset)).assumingMemoryBound(to: UInt8.self), Int(size - offset))
    }

    static func isWhitespace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    private static func bytes(_ string: UnsafePointer<CChar>?) -> [UInt8] {
        guard let string else { return [] }
        return Array(UnsafeRawBufferPointer(start: string, count: strlen(string)))
    }
}

/// Making an expat and wiring it to a state.
extension ParserState {
    /// nil: out of memory.
    static func makeExpat() -> XML_Parser? {
        guard let expat = XML_ParserCreateNS(encoding, CChar(bitPattern: separator)) else { return nil }
        setUp(expat)
        return expat
    }

    /// Ready for another document, in the memory that it has; false: there is none.
    mutating func reset() -> Bool {
        guard XML_ParserReset(expat, Self.encoding) == XML_TRUE else { return false }
        Self.setUp(expat)
        scratch.reset()
        (pending, fault, isPriming) = ([], nil, false)
        (depth, elementStart, prefixed, whitespace) = (0, 0, 0, 0)
        (rootTree, rootName, declarations) = (nil, [], [])
        return true
    }

    /// The encoding is ours to say: a declared other one is reported and refused.
    private static let encoding = "UTF-8"
    /// Nobody can choose names that meet in expat's tables without knowing it.
    private static let salt = UInt.random(in: 1...UInt.max)

    /// What a new expat and one that was reset have to be told.
    private static func setUp(_ expat: XML_Parser) {
        _ = XML_SetHashSalt(expat, salt)
        martlet_expat_limit_amplification(expat, 8, 1024 * 1024)
        // Otherwise a complete stanza may wait for the next bytes.
        _ = martlet_expat_parse_at_once(expat)
    }

    static func wire(_ expat: XML_Parser, to state: UnsafeMutablePointer<ParserState>) {
        XML_SetUserData(expat, state)
        XML_SetElementHandler(
            expat,
            { context, name, attributes in
                guard let context, let name, let attributes else { return }
                context.assumingMemoryBound(to: ParserState.self).pointee
                    .start(UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self), attributes)
            },
            { context, _ in context?.assumingMemoryBound(to: ParserState.self).pointee.end() })
        XML_SetCharacterDataHandler(expat) { context, text, count in
            guard let context, let text else { return }
            context.assumingMemoryBound(to: ParserState.self).pointee
                .text(UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self), Int(count))
        }
        XML_SetStartCdataSectionHandler(expat) { context in
            context?.assumingMemoryBound(to: ParserState.self).pointee.startCDATA()
        }
        // Only the root's declarations are of interest; taken back when the root has been read.
        XML_SetStartNamespaceDeclHandler(expat) { context, prefix, uri in
            context?.assumingMemoryBound(to: ParserState.self).pointee.declare(prefix, uri)
        }
        XML_SetXmlDeclHandler(expat) { context, _, encoding, _ in
            context?.assumingMemoryBound(to: ParserState.self).pointee.xmlDeclaration(encoding)
        }
        XML_SetCommentHandler(expat) { context, _ in
            context?.assumingMemoryBound(to: ParserState.self).pointee.fail(.restrictedXML)
        }
        XML_SetProcessingInstructionHandler(expat) { context, _, _ in
            context?.assumingMemoryBound(to: ParserState.self).pointee.fail(.restrictedXML)
        }
        XML_SetStartDoctypeDeclHandler(expat) { context, _, _, _, _ in
            context?.assumingMemoryBound(to: ParserState.self).pointee.fail(.restrictedXML)
        }
    }

    /// Whether expat stumbled over the third byte of `<!D`.
    private var isAtDocumentType: Bool {
        var offset: Int32 = 0
        var size: Int32 = 0
        guard let base = XML_GetInputContext(expat, &offset, &size), offset >= 2, offset < size else { return false }
        return memcmp(base + Int(offset) - 2, "<!D", 3) == 0
    }

    /// What expat's own complaint means for the stream.
    func complaint() -> XMLFault {
        switch XML_GetErrorCode(expat) {
        case XML_ERROR_INVALID_TOKEN:
            // Within the root a document type is no token at all, but it is still what RFC 6120 §11.1 forbids.
            isAtDocumentType ? .restrictedXML : .notWellFormed
        case XML_ERROR_NO_MEMORY, XML_ERROR_AMPLIFICATION_LIMIT_BREACH: .tooLarge(.memory)
        case XML_ERROR_UNKNOWN_ENCODING, XML_ERROR_INCORRECT_ENCODING: .unsupportedEncoding
        case XML_ERROR_UNDEFINED_ENTITY, XML_ERROR_RECURSIVE_ENTITY_REF, XML_ERROR_ASYNC_ENTITY,
            XML_ERROR_BINARY_ENTITY_REF, XML_ERROR_ATTRIBUTE_EXTERNAL_ENTITY_REF, XML_ERROR_EXTERNAL_ENTITY_HANDLING,
            XML_ERROR_ENTITY_DECLARED_IN_PE, XML_ERROR_PARAM_ENTITY_REF:
            .restrictedXML
        case XML_ERROR_UNBOUND_PREFIX: depth == 0 ? .badNamespacePrefix : .notWellFormed
        default: .notWellFormed
        }
    }
}
