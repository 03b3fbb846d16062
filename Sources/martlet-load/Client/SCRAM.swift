import COpenSSL

/// The client's side of SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
struct SCRAM {
    enum Mechanism: String {
        case sha1 = "SCRAM-SHA-1"
        case sha256 = "SCRAM-SHA-256"

        fileprivate var digest: OpaquePointer { self == .sha1 ? EVP_sha1() : EVP_sha256() }
        fileprivate var size: Int { self == .sha1 ? 20 : 32 }
    }

    /// Salted passwords seen before: a generator whose accounts share a salt derives once, not once per login.
    struct Cache {
        fileprivate var salted: [String: [UInt8]] = [:]
    }

    let mechanism: Mechanism
    private let nonce: String
    private let bare: String
    private var serverSignature: [UInt8] = []

    init(_ mechanism: Mechanism, user: String, nonce: String) {
        self.mechanism = mechanism
        self.nonce = nonce
        bare = "n=\(user),r=\(nonce)"
    }

    var first: [UInt8] { Array("n,,\(bare)".utf8) }

    /// The client's last message; nil: the challenge is none.
    mutating func final(_ challenge: [UInt8], password: String, cache: inout Cache) -> [UInt8]? {
        let serverFirst = String(decoding: challenge, as: UTF8.self)
        var fields: [Character: Substring] = [:]
        for part in serverFirst.split(separator: ",") where part.count > 2 {
            fields[part.first!] = part.dropFirst(2)
        }
        guard let serverNonce = fields["r"], serverNonce.hasPrefix(nonce),
            let salt = fields["s"], let rounds = fields["i"].flatMap({ Int32($0) }), rounds > 0
        else { return nil }
        let key = "\(mechanism.rawValue) \(rounds) \(salt)"
        let salted: [UInt8]
        if let known = cache.salted[key] {
            salted = known
        } else {
            salted = mechanism.salted(password, salt: Base64.decode(salt), rounds: rounds)
            cache.salted[key] = salted
        }
        let withoutProof = "c=biws,r=\(serverNonce)"
        let message = "\(bare),\(serverFirst),\(withoutProof)"
        let clientKey = mechanism.keyed(salted, Array("Client Key".utf8))
        let signature = mechanism.keyed(mechanism.hash(clientKey), Array(message.utf8))
        let serverKey = mechanism.keyed(salted, Array("Server Key".utf8))
        serverSignature = mechanism.keyed(serverKey, Array(message.utf8))
        let proof = zip(clientKey, signature).map { $0 ^ $1 }
        return Array("\(withoutProof),p=\(Base64.encode(proof))".utf8)
    }

    /// SCRAM-SHA-256 keys as an import takes them, with a salt that is the same for all accounts.
    static func credential(_ password: String, rounds: Int32) -> String {
        let mechanism = Mechanism.sha256
        let salt = Array("martlet-load-salt".utf8)
        let salted = mechanism.salted(password, salt: salt, rounds: rounds)
        let stored = mechanism.hash(mechanism.keyed(salted, Array("Client Key".utf8)))
        let server = mechanism.keyed(salted, Array("Server Key".utf8))
        return
            "\(mechanism.rawValue)$\(rounds):\(Base64.encode(salt))$\(Base64.encode(stored)):\(Base64.encode(server))"
    }

    /// Whether the server has proved that it knows the keys.
    func isProof(_ serverFinal: [UInt8]) -> Bool {
        serverFinal == Array("v=\(Base64.encode(serverSignature))".utf8)
    }
}

extension SCRAM.Mechanism {
    func salted(_ password: String, salt: [UInt8], rounds: Int32) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: size)
        _ = PKCS5_PBKDF2_HMAC(
            password, Int32(password.utf8.count), salt, Int32(salt.count), rounds, digest, Int32(size), &output)
        return output
    }

    func keyed(_ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: size)
        var length: UInt32 = 0
        _ = HMAC(digest, key, Int32(key.count), message, message.count, &output, &length)
        return output
    }

    func hash(_ message: [UInt8]) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: size)
        var length: UInt32 = 0
        _ = EVP_Digest(message, message.count, &output, &length, digest, nil)
        return output
    }
}

enum Base64 {
    static func encode(_ bytes: [UInt8]) -> String {
        var output = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
        let count = EVP_EncodeBlock(&output, bytes, Int32(bytes.count))
        return String(decoding: output.prefix(Int(count)), as: UTF8.self)
    }

    /// Nothing when the text is not base64.
    static func decode(_ text: some StringProtocol) -> [UInt8] {
        let input = Array(text.utf8)
        var output = [UInt8](repeating: 0, count: input.count / 4 * 3 + 4)
        let count = EVP_DecodeBlock(&output, input, Int32(input.count))
        guard count > 0 else { return [] }
        let padding = input.reversed().prefix { $0 == UInt8(ascii: "=") }.count
        return Array(output.prefix(max(0, Int(count) - padding)))
    }
}
