public import XMPPCore

/// What the server keeps of a password: enough to check a proof of it, not enough to log in (RFC 5802 §3).
public struct ScramCredential: Hashable, Sendable {
    public var hash: HashFunction
    public var iterations: Int
    public var salt: [UInt8]
    public var storedKey: [UInt8]
    public var serverKey: [UInt8]

    public init(hash: HashFunction, iterations: Int, salt: [UInt8], storedKey: [UInt8], serverKey: [UInt8]) {
        self.hash = hash
        self.iterations = iterations
        self.salt = salt
        self.storedKey = storedKey
        self.serverKey = serverKey
    }

    /// Derives the keys. Slow on purpose: not for an event loop.
    public init(
        deriving hash: HashFunction, from password: PreparedPassword, iterations: Int,
        salt: [UInt8] = Crypto.random(ScramCredential.saltLength)
    ) {
        let salted = Crypto.pbkdf2(hash, password: password.bytes, salt: salt, iterations: max(1, iterations))
        self.init(
            hash: hash, iterations: max(1, iterations), salt: salt,
            storedKey: Crypto.hash(hash, Crypto.hmac(hash, key: salted, Array("Client Key".utf8))),
            serverKey: Crypto.hmac(hash, key: salted, Array("Server Key".utf8)))
    }

    /// Bytes of the salts that we make.
    public static let saltLength = 16
    /// More would be a way to keep a processor busy.
    public static let iterationRange = 1...10_000_000

    /// Derives the keys again and compares. Slow on purpose: not for an event loop.
    public func matches(_ password: PreparedPassword) -> Bool {
        let derived = ScramCredential(deriving: hash, from: password, iterations: iterations, salt: salt)
        return Crypto.isEqual(derived.storedKey, storedKey)
    }

    /// Whether both come of the same derivation, so that one challenge serves for either.
    public func isAlike(_ other: ScramCredential) -> Bool {
        hash == other.hash && iterations == other.iterations && salt == other.salt
    }

    /// The credential of a user who does not exist: the same salt at every try, and keys that no password has.
    ///
    /// It is made at each login, so that a known user takes as long, and must cost little: the keys are never told nor
    /// compared with anything that could match them, so they are the same for everybody.
    public static func fake(
        _ hash: HashFunction, account: BareJID, iterations: Int, secret: [UInt8]
    ) -> ScramCredential {
        let name = "salt|\(hash.rawValue)|\(account.domain)|\(account.local)"
        let salt = Array(Crypto.hmac(.sha256, key: secret, Array(name.utf8)).prefix(saltLength))
        let nobodys = [UInt8](repeating: 0, count: hash.length)
        return ScramCredential(hash: hash, iterations: iterations, salt: salt, storedKey: nobodys, serverKey: nobodys)
    }
}

extension ScramCredential: CustomStringConvertible {
    /// `SCRAM-SHA-256$10000:salt$storedKey:serverKey`, for export and import.
    public var text: String {
        let keys = "\(Base64.encode(storedKey)):\(Base64.encode(serverKey))"
        return "SCRAM-\(hash.rawValue)$\(iterations):\(Base64.encode(salt))$\(keys)"
    }

    /// Reads what `text` writes; nil: it is something else, or a number or a length is out of range.
    public init?(text: String) {
        self.init(utf8: Array(text.utf8)[...])
    }

    /// As bytes, which is how they are stored; read at each login.
    public init?(utf8 text: ArraySlice<UInt8>) {
        let fields = text.split(separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
        guard fields.count == 3, fields[0].starts(with: Self.prefix),
            let hash = HashFunction(rawValue: String(decoding: fields[0].dropFirst(Self.prefix.count), as: UTF8.self))
        else { return nil }
        let first = fields[1].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        let keys = fields[2].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard first.count == 2, keys.count == 2, let iterations = StrictNumber.uint32(first[0]).map(Int.init),
            Self.iterationRange.contains(iterations), let salt = Base64.decode(first[1]),
            (1...256).contains(salt.count), let stored = Base64.decode(keys[0]),
            let server = Base64.decode(keys[1]), stored.count == hash.length, server.count == hash.length
        else { return nil }
        self.init(hash: hash, iterations: iterations, salt: salt, storedKey: stored, serverKey: server)
    }

    private static let prefix = Array("SCRAM-".utf8)

    /// Without the keys, so that no log has them.
    public var description: String { "SCRAM-\(hash.rawValue)" }
}
