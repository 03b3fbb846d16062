/// The facts about the other end that policies need.
public struct PeerInfo: Hashable, Sendable {
    /// Numeric address, no port: `192.0.2.1`, `2001:db8::1`.
    public var address: String
    public var port: Int

    public init(address: String, port: Int) {
        self.address = address
        self.port = port
    }

    /// Who it is for a limit: an IPv4 address, or the /64 of an IPv6 one, which is what one customer gets.
    public var network: String {
        guard address.utf8.contains(UInt8(ascii: ":")) else { return address }
        if address.hasPrefix("::ffff:"), address.utf8.contains(UInt8(ascii: ".")) {
            return String(address.dropFirst(7))
        }
        let groups = address.split(separator: ":", omittingEmptySubsequences: false)
        guard let gap = groups.dropFirst().dropLast().firstIndex(of: "") else {
            return groups.prefix(4).joined(separator: ":")
        }
        let before = groups[..<gap].filter { !$0.isEmpty }
        let after = groups[(gap + 1)...].filter { !$0.isEmpty }
        let zeros = Array(repeating: Substring("0"), count: max(0, 8 - before.count - after.count))
        return (before + zeros + after).prefix(4).joined(separator: ":")
    }
}

/// What is known of a stream's TLS once it is established.
public struct TLSInfo: Hashable, Sendable {
    /// `TLSv1.2` or `TLSv1.3`.
    public var version: String
    public var cipher: String
    /// The name the client asked for, if it did.
    public var serverName: String?

    public init(version: String, cipher: String, serverName: String?) {
        self.version = version
        self.cipher = cipher
        self.serverName = serverName
    }
}
