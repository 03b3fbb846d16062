/// An address: `romeo@example.net/balcony`, `romeo@example.net`, `example.net` or `example.net/balcony` (RFC 7622).
///
/// Always canonical, so that equality of addresses is equality of bytes, in tables, on disk and on the wire. Two words
/// of storage beside the bare address: an empty resource means that there is none.
public struct JID: Hashable, Sendable {
    public let bare: BareJID
    /// Empty: none.
    public let resource: String

    /// From parts that are canonical already: an address and what `prepared(resource:)` made.
    public init(_ bare: BareJID, resource: String = "") {
        self.bare = bare
        self.resource = resource
    }

    /// Reads and canonicalises; nil is what RFC 6120 calls `jid-malformed`.
    public init?(_ string: String) {
        var string = string
        let parsed = string.withUTF8 { JID(utf8: $0) }
        guard let parsed else { return nil }
        self = parsed
    }

    /// Reads and canonicalises bytes that should be UTF-8. An address of lower-case ASCII costs its objects and
    /// nothing else.
    public init?(utf8 bytes: UnsafeBufferPointer<UInt8>) {
        guard let parts = AddressParts(bytes) else { return nil }
        guard let bare = BareJID(parts) else { return nil }
        var resource = ""
        if let bytes = parts.resource {
            guard let prepared = Resourcepart.prepare(bytes) else { return nil }
            resource = prepared
        }
        self.bare = bare
        self.resource = resource
    }

    public var local: String { bare.local }
    public var domain: String { bare.domain }
    /// No resource.
    public var isBare: Bool { resource.isEmpty }
    /// Neither a local part nor a resource: a server or a service.
    public var isDomain: Bool { resource.isEmpty && bare.local.isEmpty }

    /// The canonical form of a local part (RFC 7622 §3.3); nil: not one, or more than 1,023 bytes.
    public static func prepared(local: String) -> String? {
        var local = local
        return local.withUTF8 { Localpart.prepare($0) }
    }

    /// The canonical form of a domain (RFC 7622 §3.2): U-labels, lower case, no final dot; nil: not a domain.
    public static func prepared(domain: String) -> String? {
        var domain = domain
        return domain.withUTF8 { Domainpart.prepare($0) }
    }

    /// The canonical form of a resource (RFC 7622 §3.4); nil: not one, or more than 1,023 bytes.
    public static func prepared(resource: String) -> String? {
        var resource = resource
        return resource.withUTF8 { Resourcepart.prepare($0) }
    }
}

extension JID: CustomStringConvertible {
    public var description: String {
        resource.isEmpty ? bare.description : "\(bare.description)/\(resource)"
    }
}
