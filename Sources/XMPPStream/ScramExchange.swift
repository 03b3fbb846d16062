/// The server's side of one SCRAM authentication (RFC 5802, RFC 7677), between the client's two messages.
///
/// It costs two HMACs and a hash, whatever the iteration count is: the client does the slow part.
struct ScramExchange: Hashable, Sendable {
    let first: ScramClientFirst
    /// What the client derives its keys from.
    let credential: ScramCredential
    /// Each of them may be the client's.
    let keys: [ScramCredential]
    /// Nobody knows the password: the proof is checked like any other, and refused.
    let isFake: Bool
    /// The client's nonce and ours.
    let nonce: [UInt8]
    let expectedBinding: [UInt8]
    let serverFirst: [UInt8]

    /// - Parameters:
    ///   - keys: at least one, all with the salt and the iterations of `credential`.
    ///   - offer: what was offered, hashed (XEP-0474); nil: the client is not told.
    init(
        _ first: ScramClientFirst, _ credential: ScramCredential, keys: [ScramCredential]? = nil, isFake: Bool,
        nonce token: String, bindings: ChannelBindings, offer: String? = nil
    ) {
        self.first = first
        self.credential = credential
        self.keys = keys ?? [credential]
        self.isFake = isFake
        nonce = first.nonce + Array(token.utf8)
        var binding = first.gs2Header
        if case .used(let type) = first.channelBinding { binding += bindings[type] ?? [] }
        expectedBinding = binding
        var parameters = ",s=\(Base64.encode(credential.salt)),i=\(credential.iterations)"
        if let offer { parameters += ",h=\(offer)" }
        serverFirst = Array("r=".utf8) + nonce + Array(parameters.utf8)
    }

    /// The server's signature for the client; or the proof is wrong, or belongs to another exchange or channel.
    func verify(_ final: ScramClientFinal) -> Result<[UInt8], SASLFailure> {
        let comma = [UInt8(ascii: ",")]
        let message = first.bare + comma + serverFirst + comma + final.withoutProof
        let hash = credential.hash
        var found: ScramCredential?
        for key in keys {
            let signature = Crypto.hmac(hash, key: key.storedKey, message)
            guard final.proof.count == signature.count else { return .failure(.notAuthorized) }
            let clientKey = zip(final.proof, signature).map { $0 ^ $1 }
            if Crypto.isEqual(Crypto.hash(hash, clientKey), key.storedKey) { found = key }
        }
        let isOurs = Crypto.isEqual(final.nonce, nonce)
        let isBound = Crypto.isEqual(final.channelBinding, expectedBinding)
        // To the client all of these are the same, so it learns nothing of the password by them.
        guard isOurs else { return .failure(.notAuthorized(.otherChallenge)) }
        guard isBound else { return .failure(.notAuthorized(.otherChannel)) }
        guard let found, !isFake else { return .failure(.notAuthorized) }
        let signature = Crypto.hmac(hash, key: found.serverKey, message)
        return .success(Array("v=".utf8) + Array(Base64.encode(signature).utf8))
    }
}

/// What PLAIN sends (RFC 4616 §2): authzid, NUL, name, NUL, password.
struct PlainMessage: Hashable, Sendable {
    var authzid: String?
    var username: String
    var password: String

    init?(_ message: [UInt8]) {
        let parts = message.split(separator: 0, omittingEmptySubsequences: false)
        guard parts.count == 3, let authzid = String(validating: parts[0], as: UTF8.self),
            let username = String(validating: parts[1], as: UTF8.self), !username.isEmpty,
            let password = String(validating: parts[2], as: UTF8.self), !password.isEmpty
        else { return nil }
        self.authzid = authzid.isEmpty ? nil : authzid
        self.username = username
        self.password = password
    }
}
