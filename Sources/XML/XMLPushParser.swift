internal import CExpat

/// Reads one stream piece by piece: the root's start, then each complete child of the root as one tree.
///
/// Bytes may be cut anywhere. Handlers run outside of expat, may do anything but feed this very parser, and say with a
/// `Directive` how to go on. After `failed`, `closed` and `.stop` further bytes are ignored. Everything is bounded by
/// `limits`; a complaint never traps. Confined to one event loop.
public final class XMLPushParser {
    private enum Phase { case reading, paused, stopped, ended, failed }

    /// How an unfinished token will end; bytes that cannot end it are not shown to expat, which would start over.
    private enum Token {
        case none
        case tag(quote: UInt8)
    }

    /// An expat keeps every name that it has seen; after that many bytes it makes place for a new one.
    private static let wear = 32 * 1024
    /// Most bytes handed over at once: expat copies them.
    private static let slice = 32 * 1024

    private let state: UnsafeMutablePointer<ParserState>?
    /// Bytes of an unfinished token that expat has not seen, looked through for its end.
    private var held: [UInt8] = []
    /// Bytes behind those, fed while paused or while a handler ran, and looked at by nobody.
    private var late: [UInt8] = []
    private var phase = Phase.reading
    private var token = Token.none
    private var hasBegun = false
    /// Bytes given to this expat.
    private var fed = 0
    private var prologue: XMLPrologue?
    private var isBusy = false

    public init(limits: XMLLimits = .authenticated) {
        guard let expat = ParserState.makeExpat() else {
            state = nil
            return
        }
        state = .allocate(capacity: 1)
        state?.initialize(to: ParserState(expat: expat, limits: limits))
        if let state { ParserState.wire(expat, to: state) }
    }

    /// Reads on in the middle of a stream: as if `prologue`'s root had just been opened, without its event.
    public convenience init(limits: XMLLimits = .authenticated, resuming prologue: XMLPrologue) {
        self.init(limits: limits)
        prime(prologue)
    }

    deinit {
        guard let state else { return }
        XML_ParserFree(state.pointee.expat)
        state.pointee.scratch.destroy()
        state.deinitialize(count: 1)
        state.deallocate()
    }

    public var limits: XMLLimits {
        get { state?.pointee.limits ?? .authenticated }
        set { state?.pointee.limits = newValue }
    }

    /// White space since the last stanza; carried along when the stream changes its parser.
    public var whitespace: Int {
        get { state?.pointee.whitespace ?? 0 }
        set { state?.pointee.whitespace = newValue }
    }

    /// Between two stanzas, everything consumed: another stream with the same prologue may use this parser.
    public var isAtRest: Bool {
        guard let state, phase == .reading, held.isEmpty, late.isEmpty, state.pointee.depth == 1 else { return false }
        return state.pointee.fault == nil && state.pointee.pending.isEmpty && unconsumed == 0
    }

    /// Whether it could read on for a stream that has this very prologue.
    public func isPrimed(with prologue: XMLPrologue) -> Bool { self.prologue === prologue }

    /// Lets one object stand for all equal prologues, so that they can be told apart by identity.
    public func adopt(_ prologue: XMLPrologue) {
        if self.prologue !== prologue, self.prologue == prologue { self.prologue = prologue }
    }

    /// Has read so much that it should not be used for another stream.
    public var isWorn: Bool { fed >= Self.wear }

    /// Makes it as new, for another stream. False: it is not fit for that, having failed or read so much that it may
    /// hold more memory than a new one.
    public func reset() -> Bool {
        guard let state, !isBusy, !isWorn, phase != .failed, state.pointee.reset() else { return false }
        ParserState.wire(state.pointee.expat, to: state)
        (held, late) = ([], [])
        (phase, token, hasBegun) = (.reading, .none, false)
        (fed, prologue) = (0, nil)
        return true
    }

    /// The stream can give nothing more.
    public var hasEnded: Bool { phase == .ended || phase == .failed || phase == .stopped }

    // MARK: Feeding

    public func feed(_ bytes: UnsafeRawBufferPointer, _ handler: (XMLEvent) -> Directive) {
        switch phase {
        case .ended, .stopped, .failed: return
        case .paused: return late.append(contentsOf: bytes)
        case .reading: break
        }
        guard state != nil else { return end(.failed(.tooLarge(.memory)), handler) }
        guard !isBusy else { return late.append(contentsOf: bytes) }
        isBusy = true
        defer { isBusy = false }
        consume(bytes, handler)
        drain(handler)
    }

    public func feed(_ bytes: [UInt8], _ handler: (XMLEvent) -> Directive) {
        bytes.withUnsafeBytes { feed($0, handler) }
    }

    /// Goes on after `.pause`.
    public func resume(_ handler: (XMLEvent) -> Directive) {
        guard phase == .paused, let state, !isBusy else { return }
        isBusy = true
        defer { isBusy = false }
        phase = .reading
        guard deliver(handler) else { return }
        advance(XML_ResumeParser(state.pointee.expat), handler)
        drain(handler)
    }

    /// Stopped, and nobody has taken what was left.
    public var hasLeftover: Bool { phase == .stopped }

    /// After `.stop` and `.pause`: the bytes behind the event that was answered with it. Ends the reading.
    public func takeLeftover() -> [UInt8] {
        guard phase == .stopped || phase == .paused else { return [] }
        let leftover = rest() + held + late
        (held, late) = ([], [])
        phase = .ended
        return leftover
    }

    private func drain(_ handler: (XMLEvent) -> Directive) {
        while phase == .reading, !late.isEmpty {
            let bytes = late
            late = []
            bytes.withUnsafeBytes { consume($0, handler) }
        }
    }

    private func consume(_ bytes: UnsafeRawBufferPointer, _ handler: (XMLEvent) -> Directive) {
        var bytes = bytes
        if !hasBegun {
            guard let begun = begin(bytes, handler) else { return }
            bytes = begun
        }
        if case .tag(let quote) = token {
            guard Self.endsTag(bytes, quote: quote) else { return hold(bytes, handler) }
            token = .none
            if !held.isEmpty {
                let before = held
                held = []
                before.withUnsafeBytes { give($0, handler) }
                guard phase == .reading else { return late.insert(contentsOf: bytes, at: 0) }
            }
        }
        var offset = 0
        while offset < bytes.count {
            let piece = UnsafeRawBufferPointer(rebasing: bytes[offset..<min(offset + Self.slice, bytes.count)])
            offset += piece.count
            give(piece, handler)
            if phase == .ended || phase == .failed { return }
            if phase != .reading || isHolding {
                let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...])
                if phase == .reading { return consume(rest, handler) }
                return late.insert(contentsOf: rest, at: 0)
            }
        }
    }

    private var isHolding: Bool {
        if case .none = token { false } else { true }
    }

    /// Bytes that cannot end the token wait until they double it, which keeps the time linear and still shows expat
    /// what is no XML; a token that is too long ends the stream.
    private func hold(_ bytes: UnsafeRawBufferPointer, _ handler: (XMLEvent) -> Directive) {
        if case .tag(let quote) = token { token = .tag(quote: Self.quote(after: bytes, quote: quote)) }
        held.append(contentsOf: bytes)
        let shown = unconsumed
        if shown + held.count > limits.maxTokenBytes { return end(.failed(.tooLarge(.token)), handler) }
        guard held.count >= max(shown, 256) else { return }
        let before = held
        held = []
        before.withUnsafeBytes { give($0, handler) }
    }

    /// White space before the first byte is skipped; what cannot be UTF-8 is told apart here, because expat follows a
    /// byte order mark and the look of UTF-16 whatever encoding it was made for. RFC 6120 §11.6 makes the mark text,
    /// and text cannot stand there.
    private func begin(
        _ bytes: UnsafeRawBufferPointer, _ handler: (XMLEvent) -> Directive
    ) -> UnsafeRawBufferPointer? {
        let first = held.isEmpty ? bytes.firstIndex { !ParserState.isWhitespace($0) } ?? bytes.count : 0
        countWhitespace(first, handler)
        guard phase == .reading, first < bytes.count else { return nil }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[first...])
        if held.isEmpty {
            switch rest[0] {
            case UInt8(ascii: "<"): break
            case 0x00, 0xFE, 0xFF: return refuse(.unsupportedEncoding, handler)
            default: return refuse(.notWellFormed, handler)
            }
            if rest.count == 1 {
                held = [rest[0]]
                return nil
            }
        }
        // The byte behind the angle bracket.
        if rest[held.isEmpty ? 1 : 0] == 0 { return refuse(.unsupportedEncoding, handler) }
        hasBegun = true
        if !held.isEmpty {
            let bracket = held
            held = []
            bracket.withUnsafeBytes { give($0, handler) }
        }
        return rest
    }

    private func refuse(_ fault: XMLFault, _ handler: (XMLEvent) -> Directive) -> UnsafeRawBufferPointer? {
        end(.failed(fault), handler)
        return nil
    }

    private func countWhitespace(_ count: Int, _ handler: (XMLEvent) -> Directive) {
        whitespace += count
        if whitespace > limits.maxWhitespaceBytes { end(.failed(.tooLarge(.whitespace)), handler) }
    }

    // MARK: Expat

    private func give(_ bytes: UnsafeRawBufferPointer, _ handler: (XMLEvent) -> Directive) {
        guard let state, !bytes.isEmpty, let base = bytes.baseAddress else { return }
        fed += bytes.count
        let status = XML_Parse(
            state.pointee.expat, base.assumingMemoryBound(to: CChar.self), Int32(bytes.count), Int32(XML_FALSE))
        advance(status, handler)
    }

    /// Delivers and resumes until expat has nothing left.
    private func advance(_ status: XML_Status, _ handler: (XMLEvent) -> Directive) {
        guard let state else { return }
        var status = status
        while true {
            switch status {
            case XML_STATUS_OK:
                return settle(handler)
            case XML_STATUS_SUSPENDED:
                guard deliver(handler) else { return }
                let mayRenew = isWorn && prologue != nil && state.pointee.depth == 1
                status = mayRenew ? renew() : XML_ResumeParser(state.pointee.expat)
            default:
                return end(.failed(state.pointee.fault ?? state.pointee.complaint()), handler)
            }
        }
    }

    /// Hands out what the callbacks have left; false when it must not go on.
    private func deliver(_ handler: (XMLEvent) -> Directive) -> Bool {
        guard let state else { return false }
        while !state.pointee.pending.isEmpty {
            let event: XMLEvent
            if state.pointee.pending.remove(.opened) != nil {
                guard let root = state.pointee.takeRoot() else { continue }
                prologue = root.prologue
                event = .opened(root)
            } else if state.pointee.pending.remove(.element) != nil {
                event = .element(state.pointee.scratch.finish())
            } else {
                state.pointee.pending = []
                end(.closed, handler)
                return false
            }
            switch handler(event) {
            case .proceed: continue
            case .pause: phase = .paused
            case .stop: phase = .stopped
            }
            return false
        }
        return true
    }

    private func end(_ event: XMLEvent, _ handler: (XMLEvent) -> Directive) {
        if case .failed = event { phase = .failed } else { phase = .ended }
        (held, late) = ([], [])
        _ = handler(event)
    }

    /// Everything given is read, but for a token that is not complete: decides what may follow.
    private func settle(_ handler: (XMLEvent) -> Directive) {
        token = .none
        if prologue == nil, fed > limits.maxElementBytes { return end(.failed(.tooLarge(.element)), handler) }
        let count = unconsumed
        guard count > 0, let state, let (rest, size) = state.pointee.unread(), size >= count else { return }
        guard count <= limits.maxTokenBytes else { return end(.failed(.tooLarge(.token)), handler) }
        let reach = fed - state.pointee.elementStart
        if state.pointee.depth > 1, reach > limits.maxElementBytes + limits.maxTokenBytes {
            return end(.failed(.tooLarge(.element)), handler)
        }
        switch (rest[0], count > 1 ? rest[1] : 0) {
        case (UInt8(ascii: "<"), UInt8(ascii: "!")):
            // A comment or document type is refused before it is complete; a CDATA section begins within nine bytes.
            if count > 2, rest[2] == UInt8(ascii: "-") || rest[2] == UInt8(ascii: "D") {
                end(.failed(.restrictedXML), handler)
            } else if count > 9 {
                end(.failed(.notWellFormed), handler)
            }
        case (UInt8(ascii: "<"), UInt8(ascii: "?")):
            // Only the XML declaration may be, and it is short.
            if prologue != nil || count > 256 { end(.failed(.restrictedXML), handler) }
        case (UInt8(ascii: "<"), 1...):
            let tag = UnsafeRawBufferPointer(start: rest + 1, count: count - 1)
            token = .tag(quote: Self.quote(after: tag, quote: 0))
        case (UInt8(ascii: "&"), _):
            if count > 64 { end(.failed(.tooLarge(.token)), handler) }
        default:
            break
        }
    }

    private var unconsumed: Int {
        guard let state else { return 0 }
        return fed - Int(XML_GetCurrentByteIndex(state.pointee.expat))
    }

    /// The bytes behind the event that was delivered last.
    private func rest() -> [UInt8] {
        guard let state, let (bytes, count) = state.pointee.unread() else { return [] }
        let event = Int(XML_GetCurrentByteCount(state.pointee.expat))
        return Array(UnsafeBufferPointer(start: bytes + event, count: max(0, count - event)))
    }

    /// Replaces a worn expat between two stanzas and gives the new one what the old had not read.
    private func renew() -> XML_Status {
        guard let state, let prologue, let expat = ParserState.makeExpat() else { return XML_STATUS_ERROR }
        let rest = rest()
        XML_ParserFree(state.pointee.expat)
        state.pointee.expat = expat
        ParserState.wire(expat, to: state)
        prime(prologue)
        guard phase == .reading else { return XML_STATUS_ERROR }
        guard !rest.isEmpty else { return XML_STATUS_OK }
        fed += rest.count
        return rest.withUnsafeBytes {
            XML_Parse(
                expat, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count), Int32(XML_FALSE))
        }
    }

    /// Goes to where a stream with that prologue is between its stanzas; of a parser that has read nothing yet.
    public func prime(_ prologue: XMLPrologue) {
        guard let state else { return }
        self.prologue = prologue
        state.pointee.depth = 0
        state.pointee.isPriming = true
        let status = prologue.bytes.withUnsafeBytes {
            XML_Parse(
                state.pointee.expat, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count),
                Int32(XML_FALSE))
        }
        state.pointee.isPriming = false
        XML_SetStartNamespaceDeclHandler(state.pointee.expat, nil)
        fed = prologue.bytes.count
        hasBegun = true
        if status != XML_STATUS_OK || state.pointee.depth != 1 { phase = .failed }
    }

    // MARK: Tags

    /// Whether the tag ends within `bytes`: at the first `>` outside quotes.
    private static func endsTag(_ bytes: UnsafeRawBufferPointer, quote: UInt8) -> Bool {
        var quote = quote
        for byte in bytes {
            if quote != 0 {
                if byte == quote { quote = 0 }
            } else if byte == UInt8(ascii: ">") {
                return true
            } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                quote = byte
            }
        }
        return false
    }

    /// The quote that is open behind `bytes`; 0: none.
    private static func quote(after bytes: UnsafeRawBufferPointer, quote: UInt8) -> UInt8 {
        var quote = quote
        for byte in bytes {
            if quote != 0 {
                if byte == quote { quote = 0 }
            } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                quote = byte
            }
        }
        return quote
    }
}
