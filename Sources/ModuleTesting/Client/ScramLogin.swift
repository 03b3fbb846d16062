internal import XMPPCore
internal import XMPPStream

/// The client's side of SCRAM without channel binding (RFC 5802).
struct ScramLogin {
    let hash: HashFunction
    let user: String
    let password: String
    private let nonce = "fyko-d2lbbFgONRv9qkxdawL"

    init(_ hash: HashFunction, user: String, password: String) {
        self.hash = hash
        self.user = user
        self.password = password
    }

    private var bare: String { "n=\(user),r=\(nonce)" }
    var first: String { "n,,\(bare)" }

    /// Nil: the challenge is none.
    func final(for challenge: String) -> String? {
        let fields = challenge.split(separator: ",").map { $0.dropFirst(2) }
        guard fields.count >= 3, let salt = Base64.decode(String(fields[1])), let iterations = Int(fields[2]) else {
            return nil
        }
        let salted = Crypto.pbkdf2(hash, password: Array(password.utf8), salt: salt, iterations: iterations)
        let clientKey = Crypto.hmac(hash, key: salted, Array("Client Key".utf8))
        let withoutProof = "c=biws,r=\(fields[0])"
        let message = Array("\(bare),\(challenge),\(withoutProof)".utf8)
        let signature = Crypto.hmac(hash, key: Crypto.hash(hash, clientKey), message)
        return "\(withoutProof),p=" + Base64.encode(zip(clientKey, signature).map { $0 ^ $1 })
    }
}
