/// The address of an account or a domain: `romeo@example.net`, `example.net`.
///
/// One object that sessions, rosters and queues share; its hash is computed once, with the process's own seed, so that
/// nobody outside can choose addresses that collide.
public final class BareJID: Sendable {
    /// Empty: a domain.
    public let local: String
    public let domain: String
    private let hash: Int

    /// A number that spreads addresses evenly over event loops; another one in every process.
    public var spread: UInt { UInt(bitPattern: hash) }

    /// From parts that are canonical already, such as a database key of ours.
    public init(canonicalLocal local: String, domain: String) {
        self.local = local
        self.domain = domain
        var hasher = Hasher()
        hasher.combine(local)
        hasher.combine(domain)
        hash = hasher.finalize()
    }

    /// Reads and canonicalises an address without a resource (RFC 7622); nil: it is not one.
    public convenience init?(_ string: String) {
        var string = string
        guard let parts = string.withUTF8({ Self.parts($0) }) else { return nil }
        self.init(canonicalLocal: parts.local, domain: parts.domain)
    }

    /// Reads and canonicalises the two parts of an address; nil: one of them is not allowed. An empty `local` makes
    /// a domain.
    public convenience init?(local: String, domain: String) {
        guard let domain = JID.prepared(domain: domain) else { return nil }
        if local.isEmpty {
            self.init(canonicalLocal: "", domain: domain)
        } else {
            guard let local = JID.prepared(local: local) else { return nil }
            self.init(canonicalLocal: local, domain: domain)
        }
    }

    /// Whether a text is this address or its local part, in any spelling: such a password is the first that is guessed.
    public func isSpelled(by text: String) -> Bool {
        !local.isEmpty && (JID.prepared(local: text) == local || BareJID(text) == self)
    }

    convenience init?(_ parts: AddressParts) {
        guard let (local, domain) = Self.prepared(parts) else { return nil }
        self.init(canonicalLocal: local, domain: domain)
    }

    /// The address of a host; nil: not a domain.
    public static func domain(_ domain: String) -> BareJID? {
        JID.prepared(domain: domain).map { BareJID(canonicalLocal: "", domain: $0) }
    }

    private static func parts(_ bytes: UnsafeBufferPointer<UInt8>) -> (local: String, domain: String)? {
        guard let parts = AddressParts(bytes), parts.resource == nil else { return nil }
        return prepared(parts)
    }

    private static func prepared(_ parts: AddressParts) -> (local: String, domain: String)? {
        guard let domain = Domainpart.prepare(parts.domain) else { return nil }
        guard let bytes = parts.local else { return ("", domain) }
        guard let local = Localpart.prepare(bytes) else { return nil }
        return (local, domain)
    }
}

extension BareJID: Hashable {
    public static func == (left: BareJID, right: BareJID) -> Bool {
        left === right || (left.hash == right.hash && left.local == right.local && left.domain == right.domain)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(hash)
    }
}

extension BareJID: CustomStringConvertible {
    public var description: String {
        local.isEmpty ? domain : "\(local)@\(domain)"
    }
}

/// The three parts of an address as they stand in the text, not yet checked (RFC 7622 §3.1).
struct AddressParts {
    var local: UnsafeBufferPointer<UInt8>?
    var domain: UnsafeBufferPointer<UInt8>
    var resource: UnsafeBufferPointer<UInt8>?

    /// More bytes than this cannot become an address, whatever mapping shortens; it bounds the work on foreign text.
    static let longestPart = 3 * 1023

    /// Nil: too long.
    init?(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard bytes.count <= 3 * Self.longestPart + 2 else { return nil }
        var end = bytes.count
        // The first slash ends the bare address, and the first at-sign before it ends the local part: both may
        // stand in a resource.
        if let slash = bytes.firstIndex(of: UInt8(ascii: "/")) {
            resource = UnsafeBufferPointer(rebasing: bytes[(slash + 1)...])
            end = slash
        }
        let bare = UnsafeBufferPointer(rebasing: bytes[..<end])
        if let at = bare.firstIndex(of: UInt8(ascii: "@")) {
            local = UnsafeBufferPointer(rebasing: bare[..<at])
            domain = UnsafeBufferPointer(rebasing: bare[(at + 1)...])
        } else {
            domain = bare
        }
    }
}
