/// The mechanisms that exist here, strongest first.
public enum SASLMechanism: String, Hashable, Sendable, CaseIterable {
    /// The client's certificate says who it is (RFC 4422 Appendix A, XEP-0178 §2). First where it is offered at all
    /// (RFC 6120 §6.3.4).
    case external = "EXTERNAL"
    case scramSHA512Plus = "SCRAM-SHA-512-PLUS"
    case scramSHA256Plus = "SCRAM-SHA-256-PLUS"
    case scramSHA1Plus = "SCRAM-SHA-1-PLUS"
    case scramSHA512 = "SCRAM-SHA-512"
    case scramSHA256 = "SCRAM-SHA-256"
    case scramSHA1 = "SCRAM-SHA-1"
    case plain = "PLAIN"
    /// A new name that lasts as long as its session (RFC 4505, XEP-0175).
    case anonymous = "ANONYMOUS"

    /// All of them in the order of their names' bytes.
    static let byName = allCases.sorted { $0.rawValue.utf8.lexicographicallyPrecedes($1.rawValue.utf8) }

    /// The hash of a SCRAM mechanism; nil: it is none.
    public var hash: HashFunction? {
        switch self {
        case .scramSHA512Plus, .scramSHA512: .sha512
        case .scramSHA256Plus, .scramSHA256: .sha256
        case .scramSHA1Plus, .scramSHA1: .sha1
        case .external, .plain, .anonymous: nil
        }
    }

    /// Tied to the TLS connection that it runs in.
    public var bindsChannel: Bool {
        switch self {
        case .scramSHA512Plus, .scramSHA256Plus, .scramSHA1Plus: true
        case .scramSHA512, .scramSHA256, .scramSHA1, .external, .plain, .anonymous: false
        }
    }
}

extension Set<SASLMechanism> {
    /// Those that prove who the client is.
    public static let proving = Set(SASLMechanism.allCases).subtracting([.anonymous])
}

/// The values that tie an authentication to its TLS connection; nil: TLS does not have that one.
public struct ChannelBindings: Hashable, Sendable {
    /// `tls-exporter` (RFC 9266): 32 bytes for the label `EXPORTER-Channel-Binding`; before TLS 1.3 only with the
    /// extended master secret.
    public var exporter: [UInt8]?
    /// `tls-server-end-point` (RFC 5929 §4): the hash of the server's certificate.
    public var serverEndPoint: [UInt8]?

    public init(exporter: [UInt8]? = nil, serverEndPoint: [UInt8]? = nil) {
        self.exporter = exporter
        self.serverEndPoint = serverEndPoint
    }

    public static let none = ChannelBindings()

    var isEmpty: Bool { exporter == nil && serverEndPoint == nil }

    /// The names of those that are there, strongest first.
    var types: [String] {
        (exporter == nil ? [] : ["tls-exporter"]) + (serverEndPoint == nil ? [] : ["tls-server-end-point"])
    }

    subscript(type: String) -> [UInt8]? {
        switch type {
        case "tls-exporter": exporter
        case "tls-server-end-point": serverEndPoint
        default: nil
        }
    }
}

/// How a host lets its users log in.
public struct AuthenticationPolicy: Hashable, Sendable {
    /// What is offered, as far as TLS, the client's certificate and `hashes` allow it.
    public var mechanisms: Set<SASLMechanism>
    /// Of the SCRAM mechanisms that are offered, and of the keys of new passwords; strongest first.
    public var hashes: [HashFunction]
    /// PLAIN without TLS: only for listeners whose TLS is `none`.
    public var allowsPlainInClear: Bool
    /// Of new credentials, and what an unknown user seems to have.
    public var iterations: Int
    /// Makes the credentials of unknown users; kept over restarts, never shown.
    public var secret: [UInt8]
    /// Wrong passwords on one stream; the last one ends it.
    public var attempts: Int
    /// Other failures, by which nobody guesses anything: a client goes through its mechanisms that way. The last one
    /// ends the stream.
    public var refusals: Int

    public init(
        mechanisms: Set<SASLMechanism> = .proving, hashes: [HashFunction] = HashFunction.allCases,
        allowsPlainInClear: Bool = false, iterations: Int = 10_000, secret: [UInt8], attempts: Int = 5,
        refusals: Int = 20
    ) {
        self.mechanisms = mechanisms
        self.hashes = HashFunction.allCases.filter(hashes.contains)
        self.allowsPlainInClear = allowsPlainInClear
        self.iterations = iterations
        self.secret = secret
        self.attempts = attempts
        self.refusals = refusals
    }

    /// Whether nothing of the config speaks against it.
    func allows(_ mechanism: SASLMechanism) -> Bool {
        guard mechanisms.contains(mechanism) else { return false }
        return mechanism.hash.map(hashes.contains) ?? true
    }
}
