import ModuleKit

extension LimitsConfig {
    /// What a client may cost that has a session.
    public struct Authenticated: Sendable, Hashable {
        /// Who has a resource that two sessions want (RFC 6120 §7.7.2.2).
        public enum Conflict: String, Sendable, Hashable, CaseIterable {
            /// The newer one; the older one's stream ends.
            case replace
            /// The older one, unless it waits to be resumed: then nobody is there who could mind.
            case refuse
            /// The older one; the newer one gets another name.
            case rename
        }

        public var elements: Elements
        /// Per account.
        public var sessions: Int
        /// Bytes that a session may leave unread.
        public var unread: Int
        /// At once, per address (IPv6: per /64).
        public var connectionsPerAddress: Int
        public var conflict: Conflict
        /// Nil: silence is no fault.
        public var idle: Duration?
        /// Nil: nothing is sent only to see whether the client is there.
        public var keepalive: Duration?
        /// Bytes a second that an account may send; nil: as many as it likes.
        public var rate: Int?
        /// Bytes that it may send at once after a pause.
        public var burst: Int

        public init(
            elements: Elements = Elements(bytes: 256 << 10, depth: 64, attributes: 64, count: 8192),
            sessions: Int = 50, unread: Int = 1 << 20, connectionsPerAddress: Int = 100_000,
            conflict: Conflict = .replace, idle: Duration? = nil, keepalive: Duration? = nil, rate: Int? = nil,
            burst: Int = 256 << 10
        ) {
            self.elements = elements
            self.sessions = sessions
            self.unread = unread
            self.connectionsPerAddress = connectionsPerAddress
            self.conflict = conflict
            self.idle = idle
            self.keepalive = keepalive
            self.rate = rate
            self.burst = burst
        }

        init(from section: inout ConfigSection) {
            let value = Authenticated()
            // RFC 6120 §13.12: no less than 10,000 bytes may be the limit of a stanza.
            elements = Elements(from: &section, default: value.elements, mostBytes: 16 << 20)
            if elements.bytes < 10_000 { section.error("element", "must not be less than 10000 (RFC 6120 §13.12)") }
            sessions = section.int(
                "sessions", default: value.sessions, in: 1...10_000, "Most sessions of one account at once.")
            unread = section.bytes(
                "unread", default: value.unread, in: (64 << 10)...(1 << 30),
                "Bytes sent to a session and not yet taken by its client. Above it, a session with stream management is "
                    + "detached and one without is closed.")
            connectionsPerAddress = section.int(
                "connections_per_address", default: value.connectionsPerAddress, in: 1...1_000_000,
                "Most connections at once that have logged in from one address (for IPv6: one /64).")
            conflict = section.choice(
                "conflict", default: value.conflict,
                "What becomes of a client that asks for a resource which another session has. `replace`: it gets the "
                    + "resource, the other session ends; `refuse`: it is told of the conflict; `rename`: it gets another "
                    + "resource. A session that waits to be resumed is replaced in any case.")
            let idle = section.duration(
                "idle", default: .zero, in: .zero ... .days(7),
                "A client from which nothing came for this long, not even white space, is taken for dead: its session "
                    + "waits to be resumed or ends. Clients are told of it (XEP-0478). 0s: silence is no fault.")
            let keepalive = section.duration(
                "keepalive", default: .zero, in: .zero ... .days(1),
                "A client that was silent for this long is sent white space, again and again, so that routers on the way "
                    + "keep the connection and a broken one shows. 0s: never.")
            for (key, time) in [("idle", idle), ("keepalive", keepalive)] where time > .zero && time < .seconds(10) {
                section.error(key, "must be 0s or at least 10s")
            }
            self.idle = idle > .zero ? idle : nil
            self.keepalive = keepalive > .zero ? keepalive : nil
            let rate = section.bytes(
                "rate", default: 0, in: 0...(1 << 30),
                "Bytes a second that all sessions of an account together may send; who sends more is read more slowly. "
                    + "0: as many as it likes.")
            if rate > 0, rate < 1024 { section.error("rate", "must be 0 or at least 1024") }
            self.rate = rate > 0 ? rate : nil
            burst = section.bytes(
                "burst", default: value.burst, in: 4096...(1 << 30),
                "Bytes that an account may send at once before `rate` counts.")
        }
    }
}
