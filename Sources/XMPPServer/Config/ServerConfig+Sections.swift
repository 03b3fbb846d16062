import ModuleKit

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

public struct LogConfig: Sendable, Hashable {
    public enum Level: String, Sendable, Hashable, CaseIterable { case trace, debug, info, notice, warning, error }
    public enum Format: String, Sendable, Hashable, CaseIterable { case logfmt, json }

    public var level: Level
    public var format: Format

    public init(level: Level = .info, format: Format = .logfmt) {
        self.level = level
        self.format = format
    }

    init(from section: inout ConfigSection) {
        level = section.choice("level", default: .info, "The least serious events that are written.")
        format = section.choice("format", default: .logfmt, "`key=value` pairs, or one JSON object a line.")
    }
}

/// Where clients connect.
public struct ListenerConfig: Sendable, Hashable {
    public enum TLS: String, Sendable, Hashable, CaseIterable {
        /// STARTTLS, and nothing else before it.
        case required
        /// STARTTLS for those who want it.
        case optional
        /// Clear text only.
        case none
        /// TLS from the first byte (XEP-0368).
        case direct
    }

    /// 0: any free one, for tests.
    public var port: Int
    /// Numeric; `*` stands for every address of the machine.
    public var address: String
    public var tls: TLS
    /// Those who announce clients by the PROXY protocol; nobody else may connect then. Empty: clients do.
    public var proxies: [AddressRange]

    public init(port: Int, address: String = "*", tls: TLS = .required, proxies: [AddressRange] = []) {
        self.port = port
        self.address = address
        self.tls = tls
        self.proxies = proxies
    }

    init(from section: inout ConfigSection) {
        port = section.requiredInt("port", in: 0...65_535, "TCP port; 0 takes any free one, which the log tells.")
        address =
            section.value(
                "address", "numeric address", default: "*",
                "Local address to listen on, IPv4 or IPv6; `*` for every one of the machine."
            ) { Self.isAddress($0) ? $0 : nil } ?? "*"
        tls = section.choice(
            "tls", default: .required,
            "`required`: STARTTLS before anything else; `direct`: TLS from the first byte; `optional`: clear text for "
                + "clients that want it; `none`: clear text only.")
        switch tls {
        case .optional:
            section.warn("tls", "passwords and messages of clients that do not ask for TLS go in clear text")
        case .none: section.warn("tls", "passwords and messages of all clients of this port go in clear text")
        case .required, .direct: break
        }
        proxies = Self.proxies(&section)
    }

    private static func proxies(_ section: inout ConfigSection) -> [AddressRange] {
        let doc =
            "Addresses or networks (`10.0.0.0/8`) of the proxies in front of this port. Each connection then has to come "
            + "from one of them and begin with a header of the PROXY protocol, version 1 or 2, which is believed."
        guard !section.isDescribing else {
            _ = section.strings("proxy", doc)
            return []
        }
        let path = section.path(of: "proxy")
        let items = section.items("proxy", most: 1000, isRequired: section.has("proxy")) ?? []
        return items.compactMap { item in
            guard let range = AddressRange(item.text) else {
                section.report.error(
                    line: item.line, key: "\(path)[\(item.index)]",
                    "\(item.text.quotedForPrint) is neither an address nor a network like 10.0.0.0/8")
                return nil
            }
            if range.isEverybody { section.warn("proxy", "\(item.text) lets anybody pretend to be at any address") }
            return range
        }
    }

    /// Both cannot be open at once.
    public func clashes(with other: ListenerConfig) -> Bool {
        port == other.port && (address == other.address || address == "*" || other.address == "*")
    }

    private static func isAddress(_ text: String) -> Bool {
        guard text != "*", text != "::" else { return true }
        var space = in6_addr()
        return withUnsafeMutableBytes(of: &space) { bytes in
            inet_pton(AF_INET, text, bytes.baseAddress) == 1 || inet_pton(AF_INET6, text, bytes.baseAddress) == 1
        }
    }
}

/// What one client may cost, before and after it has proved who it is.
public struct LimitsConfig: Sendable, Hashable {
    public var unauthenticated: Unauthenticated
    public var authenticated: Authenticated
    public var failedLogins: FailedLogins
    /// How long the other end of a connection may be without a sign of life to the kernel.
    public var lost: Duration

    public init(
        unauthenticated: Unauthenticated = Unauthenticated(), authenticated: Authenticated = Authenticated(),
        failedLogins: FailedLogins = FailedLogins(), lost: Duration = .seconds(600)
    ) {
        self.unauthenticated = unauthenticated
        self.authenticated = authenticated
        self.failedLogins = failedLogins
        self.lost = lost
    }

    init(from section: inout ConfigSection) {
        var before = section.section("unauthenticated", "Until a client has logged in and bound or resumed a session.")
        unauthenticated = Unauthenticated(from: &before)
        var after = section.section("authenticated", "From then on.")
        authenticated = Authenticated(from: &after)
        var failed = section.section("failed_logins", "What guessing passwords costs.")
        failedLogins = FailedLogins(from: &failed)
        lost = section.duration(
            "lost", default: .seconds(600), in: .seconds(10) ... .hours(24),
            "A connection whose other end acknowledges nothing for this long is cut: neither what was sent to it nor the "
                + "probes that the system sends after half of this time in silence.")
    }

    /// Bounds of one element below the stream: a stanza, or a step of the negotiation.
    public struct Elements: Sendable, Hashable {
        public var bytes: Int
        public var depth: Int
        /// Per element.
        public var attributes: Int
        /// Elements in it, itself included.
        public var count: Int

        public init(bytes: Int, depth: Int, attributes: Int, count: Int) {
            self.bytes = bytes
            self.depth = depth
            self.attributes = attributes
            self.count = count
        }

        init(from section: inout ConfigSection, default value: Elements, mostBytes: Int) {
            bytes = section.bytes(
                "element", default: value.bytes, in: 1024...mostBytes,
                "Most bytes of one stanza or other element of the stream.")
            depth = section.int("depth", default: value.depth, in: 4...512, "Most levels of elements in it.")
            attributes = section.int(
                "attributes", default: value.attributes, in: 8...10_000, "Most attributes of an element in it.")
            count = section.int("elements", default: value.count, in: 8...1_000_000, "Most elements in it.")
        }
    }

    public struct Unauthenticated: Sendable, Hashable {
        public var elements: Elements
        /// All that a stream may send before it is bound, TLS not counted.
        public var bytes: Int
        /// From connecting until bound or resumed.
        public var timeout: Duration
        /// Wrong passwords per stream.
        public var attempts: Int
        /// At once, all together.
        public var connections: Int
        /// At once, per address (IPv6: per /64).
        public var connectionsPerAddress: Int

        public init(
            elements: Elements = Elements(bytes: 16 << 10, depth: 16, attributes: 32, count: 128),
            bytes: Int = 64 << 10,
            timeout: Duration = .seconds(30), attempts: Int = 5, connections: Int = 10_000,
            connectionsPerAddress: Int = 500
        ) {
            self.elements = elements
            self.bytes = bytes
            self.timeout = timeout
            self.attempts = attempts
            self.connections = connections
            self.connectionsPerAddress = connectionsPerAddress
        }

        init(from section: inout ConfigSection) {
            let value = Unauthenticated()
            elements = Elements(from: &section, default: value.elements, mostBytes: 1 << 20)
            bytes = section.bytes(
                "bytes", default: value.bytes, in: 4096...(16 << 20), "Most bytes of XML until the session is bound.")
            timeout = section.duration(
                "timeout", default: value.timeout, in: .seconds(1) ... .minutes(10),
                "A client that has no session this long after connecting is cut off.")
            attempts = section.int(
                "attempts", default: value.attempts, in: 1...100,
                "Wrong passwords after which the stream is closed. It is closed after 20 failures, too, by which no "
                    + "password was looked at: mechanisms that are not offered, channels that cannot be bound.")
            connections = section.int(
                "connections", default: value.connections, in: 1...1_000_000,
                "Most connections at once that have no session yet; further ones are closed at once.")
            connectionsPerAddress = section.int(
                "connections_per_address", default: value.connectionsPerAddress, in: 1...1_000_000,
                "The same for one address (for IPv6: one /64).")
            if elements.bytes > bytes { section.error("element", "is larger than `bytes` of the same section") }
        }
    }
}

public struct StreamManagementConfig: Sendable, Hashable {
    /// How long a detached session waits for its client; zero: resuming is not offered.
    public var resume: Duration
    /// How long a stanza stays unacknowledged before it is kept on disk.
    public var spill: Duration
    /// Most stanzas in a session's queue.
    public var queue: Int
    public var queueBytes: Int
    /// Of all sessions that wait for their clients.
    public var detachedBytes: Int

    public init(
        resume: Duration = .seconds(600), spill: Duration = .seconds(2), queue: Int = 1000, queueBytes: Int = 4 << 20,
        detachedBytes: Int = 64 << 20
    ) {
        self.resume = resume
        self.spill = spill
        self.queue = queue
        self.queueBytes = queueBytes
        self.detachedBytes = detachedBytes
    }

    init(from section: inout ConfigSection) {
        let value = StreamManagementConfig()
        resume = section.duration(
            "resume", default: value.resume, in: .zero ... .hours(24),
            "How long a session whose connection broke waits for its client to come back; 0s: it does not.")
        spill = section.duration(
            "spill", default: value.spill, in: .milliseconds(100) ... .minutes(1),
            "A message that a client has not acknowledged for this long is kept on disk.")
        queue = section.int(
            "queue", default: value.queue, in: 10...1_000_000,
            "Most stanzas that wait for one session's client, and of the client's own that wait to be acknowledged.")
        queueBytes = section.bytes(
            "queue_bytes", default: value.queueBytes, in: (64 << 10)...(1 << 30), "Most bytes of them.")
        detachedBytes = section.bytes(
            "detached_bytes", default: value.detachedBytes, in: (1 << 20)...(64 << 30),
            "Most bytes that wait in memory for all sessions whose connection broke. Above it the session that has waited "
                + "longest ends: its messages are on disk and come at the next login.")
    }
}

public struct AccountsConfig: Sendable, Hashable {
    /// Bytes, all loops together.
    public var cache: Int
    /// Stanzas that wait for one account while it is loaded.
    public var inbox: Int
    /// Bytes of them.
    public var inboxBytes: Int

    public init(cache: Int = 64 << 20, inbox: Int = 1000, inboxBytes: Int = 1 << 20) {
        self.cache = cache
        self.inbox = inbox
        self.inboxBytes = inboxBytes
    }

    init(from section: inout ConfigSection) {
        let value = AccountsConfig()
        cache = section.bytes(
            "cache", default: value.cache, in: (1 << 20)...(64 << 30),
            "Memory for accounts without a session, so that they need not be read again.")
        inbox = section.int(
            "inbox", default: value.inbox, in: 10...100_000,
            "Most stanzas that wait for one account while it is read from disk.")
        inboxBytes = section.bytes(
            "inbox_bytes", default: value.inboxBytes, in: (64 << 10)...(1 << 30),
            "Most bytes of them. Those of all accounts together are at most as many as `cache`.")
    }
}
