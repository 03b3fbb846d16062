public import XMPPCore

/// Asks for the stored keys of an account; the answer goes to `found(_:)`.
public struct CredentialRequest: Hashable, Sendable {
    public var account: BareJID
    /// The hashes that serve, best first: SCRAM names one, PLAIN takes any.
    public var hashes: [HashFunction]

    public init(account: BareJID, hashes: [HashFunction]) {
        self.account = account
        self.hashes = hashes
    }
}

/// A password to be compared with stored keys, away from any event loop; the answer goes to `checked(_:)`.
public struct PasswordCheck: Hashable, Sendable {
    let password: PreparedPassword
    let credential: ScramCredential

    /// Slow on purpose. An unknown user takes as long.
    public func matches() -> Bool {
        credential.matches(password)
    }
}

/// One authentication, mechanism by mechanism, over decoded messages (RFC 4422): the same for `<auth/>` of RFC 6120 and
/// for what may replace it.
///
/// It starts with `begin`, goes on with what each step asks for, and ends with `.authenticated` or `.failed`; then
/// `begin` is allowed again. The owner counts the failures.
public struct SASLServer: Sendable {
    /// What to do next.
    public enum Step: Hashable, Sendable {
        /// Send it; the answer goes to `respond`.
        case challenge([UInt8])
        case lookUp(CredentialRequest)
        case check(PasswordCheck)
        /// With what `<success/>` carries; nil: nothing.
        case authenticated(BareJID, SASLMechanism, [UInt8]?)
        /// The account is the one that was tried, when the messages came as far as that.
        case failed(SASLFailure, BareJID?)
    }

    /// What stays the same for the whole stream.
    struct Setting: Sendable {
        var host: String
        var policy: AuthenticationPolicy
        var offered: [SASLMechanism]
        var bindings: ChannelBindings
        var isSecure: Bool
        var random: RandomSource
    }

    enum State: Sendable {
        case idle
        /// The mechanism was named without a first message.
        case awaitingFirst(SASLMechanism)
        case lookingUpScram(ScramClientFirst, BareJID, SASLMechanism, HashFunction)
        case awaitingProof(ScramExchange, BareJID, SASLMechanism)
        case lookingUpPlain(PreparedPassword, BareJID)
        /// True: nobody knows the password.
        case checking(BareJID, isFake: Bool)
    }

    /// Longest message that is read; PLAIN's three parts of 1,023 bytes fit.
    public static let longestMessage = 4096

    private let setting: Setting
    private var state: State

    /// - Parameter offered: the mechanisms that the stream features listed.
    public init(
        host: String, policy: AuthenticationPolicy, offered: [SASLMechanism], bindings: ChannelBindings,
        isSecure: Bool, random: RandomSource = .system
    ) {
        setting = Setting(
            host: host, policy: policy, offered: offered, bindings: bindings, isSecure: isSecure, random: random)
        state = .idle
    }

    /// Whether a client's message is what comes next.
    public var awaitsClient: Bool {
        switch state {
        case .awaitingFirst, .awaitingProof: true
        case .idle, .lookingUpScram, .lookingUpPlain, .checking: false
        }
    }

    /// Whether `found` or `checked` is what comes next.
    public var awaitsOwner: Bool {
        switch state {
        case .lookingUpScram, .lookingUpPlain, .checking: true
        case .idle, .awaitingFirst, .awaitingProof: false
        }
    }

    /// `<auth/>`; `initial` is nil when it carried nothing. Ends whatever was under way.
    public mutating func begin(mechanism name: String, initial: [UInt8]?) -> SASLServer.Step {
        state = .idle
        guard let mechanism = SASLMechanism(rawValue: name), setting.policy.mechanisms.contains(mechanism) else {
            return .failed(.invalidMechanism, nil)
        }
        guard setting.offered.contains(mechanism) else {
            // RFC 6120 §6.5.4: it would be offered with TLS.
            return .failed(setting.isSecure ? .invalidMechanism : .encryptionRequired, nil)
        }
        guard let initial else {
            state = .awaitingFirst(mechanism)
            return .challenge([])
        }
        return state.first(initial, mechanism, setting)
    }

    /// `<response/>`. Out of order it fails.
    public mutating func respond(_ message: [UInt8]) -> SASLServer.Step {
        state.respond(message, setting)
    }

    /// `<abort/>`.
    public mutating func abort() -> SASLServer.Step {
        state = .idle
        return .failed(.aborted, nil)
    }

    /// Ends whatever was under way with a failure of the owner's choice.
    public mutating func fail(_ failure: SASLFailure) -> SASLServer.Step {
        state = .idle
        return .failed(failure, nil)
    }

    /// The stored keys, or nil: there is no such account, or it has no keys of that kind. Nil as an answer: nobody
    /// asked.
    public mutating func found(_ credential: ScramCredential?) -> SASLServer.Step? {
        state.found(credential, setting)
    }

    /// Whether the password was right. Nil as an answer: nobody asked.
    public mutating func checked(_ matches: Bool) -> SASLServer.Step? {
        state.checked(matches)
    }
}

extension SASLServer.State {
    mutating func first(
        _ message: [UInt8], _ mechanism: SASLMechanism, _ setting: SASLServer.Setting
    )
        -> SASLServer.Step
    {
        self = .idle
        guard message.count <= SASLServer.longestMessage else { return .failed(.malformedRequest, nil) }
        guard let hash = mechanism.hash else { return plain(message, setting) }
        guard let first = ScramClientFirst(message) else { return .failed(.malformedRequest, nil) }
        switch (first.channelBinding, mechanism.bindsChannel) {
        case (.unsupported, false): break
        case (.unoffered, false):
            // Somebody removed the -PLUS mechanisms on the way to the client (RFC 5802 §6).
            if setting.offered.contains(where: \.bindsChannel) { return .failed(.notAuthorized, nil) }
        case (.used(let type), true):
            guard setting.bindings[type] != nil else { return .failed(.notAuthorized, nil) }
        case (.used, false), (.unsupported, true), (.unoffered, true): return .failed(.malformedRequest, nil)
        }
        switch Self.account(first.username, first.authzid, setting.host) {
        case .failure(let failure): return .failed(failure, nil)
        case .success(let account):
            self = .lookingUpScram(first, account, mechanism, hash)
            return .lookUp(CredentialRequest(account: account, hashes: [hash]))
        }
    }

    private mutating func plain(_ message: [UInt8], _ setting: SASLServer.Setting) -> SASLServer.Step {
        guard let message = PlainMessage(message) else { return .failed(.malformedRequest, nil) }
        switch Self.account(message.username, message.authzid, setting.host) {
        case .failure(let failure): return .failed(failure, nil)
        case .success(let account):
            guard let password = PreparedPassword(message.password) else { return .failed(.malformedRequest, account) }
            self = .lookingUpPlain(password, account)
            return .lookUp(CredentialRequest(account: account, hashes: HashFunction.allCases))
        }
    }

    /// The account of a user name; nobody may act as anybody else (RFC 6120 §6.3.8).
    private static func account(
        _ username: String, _ authzid: String?, _ host: String
    ) -> Result<BareJID, SASLFailure> {
        guard let local = JID.prepared(local: username) else { return .failure(.notAuthorized) }
        let account = BareJID(canonicalLocal: local, domain: host)
        guard let authzid else { return .success(account) }
        return BareJID(authzid) == account ? .success(account) : .failure(.invalidAuthzid)
    }

    mutating func respond(_ message: [UInt8], _ setting: SASLServer.Setting) -> SASLServer.Step {
        switch consume self {
        case .awaitingFirst(let mechanism):
            self = .idle
            return first(message, mechanism, setting)
        case .awaitingProof(let exchange, let account, let mechanism):
            self = .idle
            guard message.count <= SASLServer.longestMessage, let final = ScramClientFinal(message) else {
                return .failed(.malformedRequest, account)
            }
            guard let signature = exchange.verify(final) else { return .failed(.notAuthorized, account) }
            return .authenticated(account, mechanism, signature)
        case .idle, .lookingUpScram, .lookingUpPlain, .checking:
            self = .idle
            return .failed(.malformedRequest, nil)
        }
    }

    mutating func found(_ credential: ScramCredential?, _ setting: SASLServer.Setting) -> SASLServer.Step? {
        switch self {
        case .lookingUpScram(let first, let account, let mechanism, let hash):
            // Made every time, so that a known user takes as long.
            let fake = setting.fake(hash, account)
            let isFake = credential?.hash != hash
            let exchange = ScramExchange(
                first, isFake ? fake : credential ?? fake, isFake: isFake, nonce: setting.random.token(),
                bindings: setting.bindings)
            self = .awaitingProof(exchange, account, mechanism)
            return .challenge(exchange.serverFirst)
        case .lookingUpPlain(let password, let account):
            let fake = setting.fake(.sha256, account)
            self = .checking(account, isFake: credential == nil)
            return .check(PasswordCheck(password: password, credential: credential ?? fake))
        case .idle, .awaitingFirst, .awaitingProof, .checking:
            return nil
        }
    }

    mutating func checked(_ matches: Bool) -> SASLServer.Step? {
        switch self {
        case .checking(let account, let isFake):
            self = .idle
            return matches && !isFake ? .authenticated(account, .plain, nil) : .failed(.notAuthorized, account)
        case .idle, .awaitingFirst, .awaitingProof, .lookingUpScram, .lookingUpPlain:
            return nil
        }
    }
}

extension SASLServer.Setting {
    fileprivate func fake(_ hash: HashFunction, _ account: BareJID) -> ScramCredential {
        .fake(hash, account: account, iterations: policy.iterations, secret: policy.secret)
    }
}
