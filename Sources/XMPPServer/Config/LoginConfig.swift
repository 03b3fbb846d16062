import ModuleKit
public import XMPPStream

public struct AuthConfig: Sendable, Hashable {
    /// Ways to log in, as an operator thinks of them; the hashes of SCRAM stand beside.
    public enum Mechanism: String, Sendable, Hashable, CaseIterable {
        case scramPlus = "SCRAM-PLUS"
        case scram = "SCRAM"
        case external = "EXTERNAL"
        case plain = "PLAIN"
        case anonymous = "ANONYMOUS"

        var mechanisms: [SASLMechanism] {
            switch self {
            case .scramPlus: SASLMechanism.allCases.filter { $0.hash != nil && $0.bindsChannel }
            case .scram: SASLMechanism.allCases.filter { $0.hash != nil && !$0.bindsChannel }
            case .external: [.external]
            case .plain: [.plain]
            case .anonymous: [.anonymous]
            }
        }
    }

    /// At least one.
    public var mechanisms: [Mechanism]
    /// At least one, strongest first.
    public var hashes: [HashFunction]
    /// SCRAM iterations for passwords set from now on.
    public var iterations: Int

    /// What is offered unless the config says otherwise.
    public static let usual: [Mechanism] = [.scramPlus, .scram, .external, .plain]

    public init(
        mechanisms: [Mechanism] = AuthConfig.usual, hashes: [HashFunction] = HashFunction.allCases,
        iterations: Int = 10_000
    ) {
        self.mechanisms = mechanisms
        self.hashes = hashes
        self.iterations = iterations
    }

    init(from section: inout ConfigSection, hasAuthorities: Bool) {
        mechanisms = section.choices(
            "mechanisms", default: Self.usual,
            "The ways to log in that are offered, and no others. SCRAM-PLUS is SCRAM tied to the TLS connection; EXTERNAL "
                + "(certificates of clients) needs `tls.client_authorities`; ANONYMOUS lets anybody in, under a name that "
                + "lasts as long as the session.")
        if section.has("mechanisms"), mechanisms.contains(.external), !hasAuthorities {
            section.error("mechanisms", "has EXTERNAL, which needs `tls.client_authorities`")
        }
        if hasAuthorities, !mechanisms.contains(.external) {
            section.warn("mechanisms", "has no EXTERNAL, so `tls.client_authorities` is of no use")
        }
        let named = section.choices(
            "hashes", default: HashFunction.allCases,
            "The hashes of SCRAM that are offered, and that passwords set from now on are kept for. An account without "
                + "keys of a hash cannot log in with it, and many clients try only the strongest that is offered.")
        hashes = HashFunction.allCases.filter(named.contains)
        iterations = section.int(
            "iterations", default: 10_000, in: 4096...10_000_000,
            "SCRAM iterations of passwords set from now on: what guessing one costs, and about half of each login.")
    }
}

extension LimitsConfig {
    /// What guessing passwords costs. Failures are counted per account and address, so that nobody can keep another one
    /// out, and per address; for IPv6 an address is a /64.
    public struct FailedLogins: Sendable, Hashable {
        /// Of one account from one address, until answers are delayed.
        public var free: Int
        /// Of all accounts together.
        public var freePerAddress: Int
        /// The longest delay. The first is half a second, each further one twice as long.
        public var delay: Duration
        /// Of one account from one address, until nothing is tried any more.
        public var refuse: Int
        public var refusePerAddress: Int
        /// Half of the failures are forgotten after this time.
        public var forget: Duration
        /// Most pairs of account and address, and most addresses, that are remembered.
        public var entries: Int

        public init(
            free: Int = 5, freePerAddress: Int = 50, delay: Duration = .seconds(8), refuse: Int = 50,
            refusePerAddress: Int = 1000, forget: Duration = .seconds(600), entries: Int = 100_000
        ) {
            self.free = free
            self.freePerAddress = freePerAddress
            self.delay = delay
            self.refuse = refuse
            self.refusePerAddress = refusePerAddress
            self.forget = forget
            self.entries = entries
        }

        init(from section: inout ConfigSection) {
            let value = FailedLogins()
            free = section.int(
                "free", default: value.free, in: 1...1_000_000,
                "Failed logins to one account from one address after which answers are delayed: by half a second, then "
                    + "by twice as long each time. The right password from there ends it.")
            freePerAddress = section.int(
                "free_per_address", default: value.freePerAddress, in: 1...1_000_000,
                "The same for failed logins from one address (for IPv6: one /64) to all accounts.")
            delay = section.duration("delay", default: value.delay, in: .zero ... .seconds(20), "The longest delay.")
            refuse = section.int(
                "refuse", default: value.refuse, in: 1...1_000_000,
                "Failed logins to one account from one address after which passwords are no longer looked at.")
            refusePerAddress = section.int(
                "refuse_per_address", default: value.refusePerAddress, in: 1...1_000_000,
                "The same for one address and all accounts.")
            forget = section.duration(
                "forget", default: value.forget, in: .seconds(1) ... .hours(24),
                "After this time half of the failures are forgotten, then half of the rest, and so on.")
            entries = section.int(
                "entries", default: value.entries, in: 100...10_000_000,
                "How many accounts with an address, and how many addresses, are remembered; a new one takes the place "
                    + "of an old one.")
            if refuse < free { section.error("refuse", "is less than `free` of the same section") }
            if refusePerAddress < freePerAddress {
                section.error("refuse_per_address", "is less than `free_per_address` of the same section")
            }
        }
    }
}
