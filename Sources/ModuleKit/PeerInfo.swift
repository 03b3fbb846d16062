/// The facts about the other end that policies need.
public struct PeerInfo: Hashable, Sendable {
    /// Numeric address, no port: `192.0.2.1`, `2001:db8::1`.
    public var address: String
    public var port: Int

    public init(address: String, port: Int) {
        self.address = address
        self.port = port
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
