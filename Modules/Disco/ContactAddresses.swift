internal import ModuleKit

/// Whom people can turn to about a server (XEP-0157), by what it is about.
struct ContactAddresses: Hashable, Sendable {
    private var addresses: [Addresses] = []

    private struct Addresses: Hashable, Sendable {
        var field: String
        var uris: [String]
    }

    private static let most = 20

    init(from section: inout ConfigSection) {
        read("abuse", "Reports of abuse.", &section)
        read("admin", "The operators.", &section)
        read("feedback", "What people think of the service.", &section)
        read("sales", "Who wants to buy something.", &section)
        read("security", "Reports of security holes.", &section)
        read("status", "Where to see whether the service works.", &section)
        read("support", "Who needs help.", &section)
    }

    private mutating func read(_ key: String, _ doc: String, _ section: inout ConfigSection) {
        let uris = section.strings(key, most: Self.most, doc)
        for uri in uris where !Self.isURI(uri) {
            section.error(key, "\(uri) is no URI like mailto:help@example.org, xmpp:help@example.org or https://…")
        }
        if !uris.isEmpty { addresses.append(Addresses(field: "\(key)-addresses", uris: uris)) }
    }

    /// RFC 3986 §3: a scheme and something behind it, without spaces or controls.
    private static func isURI(_ text: String) -> Bool {
        guard let colon = text.utf8.firstIndex(of: UInt8(ascii: ":")) else { return false }
        let (scheme, rest) = (text.utf8[..<colon], text.utf8[colon...].dropFirst())
        guard let first = scheme.first, isLetter(first), !rest.isEmpty else { return false }
        return scheme.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || [0x2B, 0x2D, 0x2E].contains($0) }
            && rest.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "<") && $0 != UInt8(ascii: ">") }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
    }

    /// Nil: nobody is named.
    var form: DataForm? {
        guard !addresses.isEmpty else { return nil }
        let fields = addresses.map { DataForm.Field($0.field, .listMulti, values: $0.uris) }
        return DataForm(.result, type: "http://jabber.org/network/serverinfo", fields: fields)
    }
}
