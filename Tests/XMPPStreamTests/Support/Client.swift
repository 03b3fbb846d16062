import Testing
import XMPPCore
import XMPPStream

/// What the client sends.
enum Client {
    static func auth(_ mechanism: String, _ message: String?) -> Element {
        var element = Element("auth", .sasl, ["mechanism": mechanism])
        if let message { element.appendText(message.isEmpty ? "=" : Base64.encode(Array(message.utf8))) }
        return element
    }

    static func response(_ message: String) -> Element {
        var element = Element("response", .sasl)
        element.appendText(Base64.encode(Array(message.utf8)))
        return element
    }

    static func bind(_ resource: String? = nil, id: String? = "b1", type: String = "set") -> Element {
        var bind = Element("bind", .bind)
        if let resource {
            var child = Element("resource", .bind)
            child.appendText(resource)
            bind.append(child)
        }
        var iq = Element("iq", .client, ["type": type, "id": id])
        iq.append(bind)
        return iq
    }

    static func header(_ to: String? = "example.net", from: String? = nil, version: String? = "1.0") -> StreamHeader {
        StreamHeader(to: to, from: from, version: version)
    }
}

/// The client's side of SCRAM, done by hand so that each part of it can be wrong.
struct ScramClient {
    var hash = HashFunction.sha256
    var user = "romeo"
    var password = "wherefore"
    var gs2 = "n,,"
    var nonce = "abcdefgh"
    var binding: [UInt8] = []
    var extensions = ""

    var bare: String { "n=\(user),r=\(nonce)\(extensions)" }
    var first: String { gs2 + bare }

    /// The client's last message, and what the server has to answer.
    func final(
        for serverFirst: String, changingNonce: String? = nil, binding changed: String? = nil, tail: String = ""
    ) throws -> (message: String, signature: String) {
        let fields = serverFirst.split(separator: ",").map { $0.dropFirst(2) }
        let salt = try #require(Base64.decode(String(fields[1])))
        let iterations = try #require(Int(fields[2]))
        let bytes = Array(password.utf8)
        let salted = Crypto.pbkdf2(hash, password: bytes, salt: salt, iterations: iterations)
        let clientKey = Crypto.hmac(hash, key: salted, Array("Client Key".utf8))
        let serverKey = Crypto.hmac(hash, key: salted, Array("Server Key".utf8))
        let channel = changed ?? Base64.encode(Array(gs2.utf8) + binding)
        let withoutProof = "c=\(channel),r=\(changingNonce ?? String(fields[0]))\(tail)"
        let message = Array("\(bare),\(serverFirst),\(withoutProof)".utf8)
        let signature = Crypto.hmac(hash, key: Crypto.hash(hash, clientKey), message)
        let proof = Base64.encode(zip(clientKey, signature).map { $0 ^ $1 })
        return ("\(withoutProof),p=\(proof)", "v=" + Base64.encode(Crypto.hmac(hash, key: serverKey, message)))
    }
}

/// A host with one user, `romeo`, whose password is `wherefore`.
enum Host {
    static let secret = Array("a secret of the server".utf8)
    static let romeo = BareJID("romeo@example.net")!
    static let policy = AuthenticationPolicy(iterations: 64, secret: secret, attempts: 3, refusals: 3)
    static let bindings = ChannelBindings(exporter: [1, 2, 3], serverEndPoint: [4, 5, 6])

    static func credential(_ hash: HashFunction = .sha256) -> ScramCredential {
        ScramCredential(
            deriving: hash, from: PreparedPassword("wherefore")!, iterations: 64, salt: Array("saltsaltsaltsalt".utf8))
    }

    static func server(
        mechanisms: [SASLMechanism] = SASLMechanism.allCases.filter { $0 != .external && $0 != .anonymous },
        bindings: ChannelBindings = bindings, certified: [BareJID] = [], policy: AuthenticationPolicy = policy,
        isSecure: Bool = true
    ) -> SASLServer {
        SASLServer(
            host: "example.net", policy: policy, offered: mechanisms, bindings: bindings, certified: certified,
            isSecure: isSecure, random: .fixed(Array("SERVER".utf8)))
    }

    /// The driver's lookup: nobody but romeo exists.
    static func find(_ request: CredentialRequest) -> [ScramCredential] {
        request.account == romeo ? request.hashes.prefix(1).map { credential($0) } : []
    }
}

extension SASLServer {
    /// One message, with the lookup done as a driver does it.
    mutating func start(_ mechanism: String, _ message: String) -> Step {
        let step = begin(mechanism: mechanism, initial: Array(message.utf8))
        guard case .lookUp(let request) = step else { return step }
        return found(Host.find(request)) ?? step
    }
}

extension SASLServer.Step {
    var challenge: String? {
        guard case .challenge(let data) = self else { return nil }
        return String(decoding: data, as: UTF8.self)
    }

    var failure: SASLFailure.Condition? {
        guard case .failed(let failure, _) = self else { return nil }
        return failure.condition
    }
}
