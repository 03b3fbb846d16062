public import XMPPCore

/// When a step runs within its point. The order is the order of the cases; modules never give numbers.
public enum Stage: Int, CaseIterable, Sendable {
    /// Blocking and limits: may reject. Closed when it fails: no stanza passes a filter that broke.
    case admit
    /// Refuses what nobody can take, before anybody records or copies it.
    case resolve
    /// Stamps and strips, so that all later stages see what the recipient will see.
    case rewrite
    /// Writes archives and adds the archive's id.
    case record
    /// Makes copies, which carry that id.
    case copy
    /// Takes the stanza.
    case deliver
}

/// What a step says.
public enum Verdict: Sendable {
    /// Not mine, or mine and to be seen by others: go on.
    case next
    /// Taken: nobody behind this step sees the stanza. Who says so holds the receipt or may let it go.
    case handled
    /// Refused: the sender gets the error.
    case reject(StanzaError)
}

/// Which stanzas a step wants: checked before the call with one AND each, so that a step costs nothing where it has no
/// interest. Namespaces are a prefilter: some share a bit, so a step looks for its payload itself.
public struct Interest: Hashable, Sendable {
    public var kinds: UInt8
    public var types: UInt32
    public var namespaces: UInt64

    public init(kinds: UInt8, types: UInt32 = .max, namespaces: UInt64 = .max) {
        self.kinds = kinds
        self.types = types
        self.namespaces = namespaces
    }

    public static let all = Interest(kinds: 0b111)
    public static let message = Interest(kinds: 1 << Stanza.Kind.message.rawValue)
    public static let presence = Interest(kinds: 1 << Stanza.Kind.presence.rawValue)
    public static let iq = Interest(kinds: 1 << Stanza.Kind.iq.rawValue)

    /// Only these types.
    public func of(_ types: Stanza.StanzaType...) -> Interest {
        Interest(kinds: kinds, types: types.reduce(0) { $0 | 1 << $1.rawValue }, namespaces: namespaces)
    }

    /// All types but these.
    public func except(_ types: Stanza.StanzaType...) -> Interest {
        Interest(kinds: kinds, types: types.reduce(self.types) { $0 & ~(1 << $1.rawValue) }, namespaces: namespaces)
    }

    /// Only with a payload in one of these namespaces.
    public func with(_ namespaces: Namespace...) -> Interest {
        Interest(kinds: kinds, types: types, namespaces: namespaces.reduce(0) { $0 | $1.bit })
    }

    @inlinable
    public func wants(_ stanza: Stanza) -> Bool {
        kinds & (1 << stanza.kind.rawValue) != 0 && types & (1 << stanza.type.rawValue) != 0
            && (namespaces == .max || namespaces & stanza.namespaces != 0)
    }

    /// True when some stanza could interest both.
    public func overlaps(_ other: Interest) -> Bool {
        kinds & other.kinds != 0 && types & other.types != 0 && namespaces & other.namespaces != 0
    }
}

extension Interest: CustomStringConvertible {
    /// As `martlet modules --pipeline` shows it.
    public var description: String {
        let names = ["message", "presence", "iq"].enumerated().filter { kinds & (1 << UInt8($0.offset)) != 0 }
        var text = names.map(\.element).joined(separator: ",")
        if types != .max {
            let types = (0..<20).compactMap { Stanza.StanzaType(rawValue: $0) }.filter {
                self.types & (1 << $0.rawValue) != 0
            }
            text += " of " + types.map { "\($0)" }.joined(separator: ",")
        }
        return namespaces == .max ? text : text + " with certain payloads"
    }
}

/// A stanza that one of our clients sent; `from` is stamped. On the session's loop.
public struct Received {
    public let session: any Session
    public var envelope: Envelope

    public init(session: any Session, envelope: Envelope) {
        self.session = session
        self.envelope = envelope
    }
}

/// A stanza for one of our accounts, once per account; on its home loop.
public struct Arriving {
    public let account: any Account
    public var envelope: Envelope

    public init(account: any Account, envelope: Envelope) {
        self.account = account
        self.envelope = envelope
    }
}

/// A stanza about to be written to one session. Taken or refused here it does not go to this session; nobody is told,
/// for other sessions may have it.
public struct Sending {
    public let session: any Session
    public var stanza: Stanza

    public init(session: any Session, stanza: Stanza) {
        self.session = session
        self.stanza = stanza
    }
}

/// A message for an existing account that no session could take.
public struct Undeliverable {
    public let account: any Account
    public let envelope: Envelope

    public init(account: any Account, envelope: Envelope) {
        self.account = account
        self.envelope = envelope
    }
}

/// A hot point while it is being built.
public struct HotPoint<Event> {
    /// One step. Its handler is synchronous by type: what has to wait enqueues and returns.
    public struct Registration {
        public let module: String
        public let stage: Stage
        public let interest: Interest
        public let after: [String]
        public let handler: (inout Event) -> Verdict
    }

    public internal(set) var registrations: [Registration] = []
    var module = ""

    init() {}

    /// Adds a step. Two steps of one stage whose interests overlap need `after` to say who goes first; the loader
    /// refuses a tie.
    public mutating func add(
        _ stage: Stage, on interest: Interest, after: [String] = [],
        _ handler: @escaping (inout Event) -> Verdict
    ) {
        registrations.append(
            Registration(module: module, stage: stage, interest: interest, after: after, handler: handler))
    }
}
