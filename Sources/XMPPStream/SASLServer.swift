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
    /// All of one hash; at least one.
    let credentials: [ScramCredential]

    /// Most derivations of one check; credentials that share a salt share the derivation.
    static let mostDerivations = 4

    /// Slow on purpose. An unknown user takes as long.
    public func matches() -> Bool {
        var rest = credentials[...]
        for _ in 0..<Self.mostDerivations {
            guard let first = rest.first else { return false }
            let derived = ScramCredential(
                deriving: first.hash, from: password, iterations: first.iterations, salt: first.salt)
            var isFound = false
            for credential in rest where credential.isAlike(first) {
                if Crypto.isEqual(credential.storedKey, derived.storedKey) { isFound = true }
            }
            if isFound { return true }
            rest = rest.filter { !$0.isAlike(first) }[...]
        }
        return false
    }

    /// The keys of the same password for these hashes. Slow on purpose.
    public func derive(_ hashes: [HashFunction], iterations: Int) -> [ScramCredential] {
        hashes.map { ScramCredential(deriving: $0, from: password, iterations: iterations) }
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
        /// Whether there is such an account; the answer goes to `foundAccount`.
        case find(BareJID)
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
        var certified: [BareJID]
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
        /// An account that a certificate names.
        case finding(BareJID)
        /// A name for who has none; nobody may have it.
        case naming(BareJID)
        /// True: nobody knows the password.
        case checking(BareJID, isFake: Bool)
    }

    /// Longest message that is read; PLAIN's three parts of 1,023 bytes fit.
    public static let longestMessage = 4096

    private let setting: Setting
    private var state: State

    /// - Parameters:
    ///   - offered: the mechanisms that the stream features listed.
    ///   - certified: the accounts of this host that the client's certificate names.
    public init(
        host: String, policy: AuthenticationPolicy, offered: [SASLMechanism], bindings: ChannelBindings,
        certified: [BareJID] = [], isSecure: Bool, random: RandomSource = .system
    ) {
        setting = Setting(
            host: host, policy: policy, offered: offered, bindings: bindings, certified: certified,
            isSecure: isSecure, random: random)
        state = .idle
    }

    /// Whether a client's message is what comes next.
    public var awaitsClient: Bool {
        switch state {
        case .awaitingFirst, .awaitingProof: true
        case .idle, .lookingUpScram, .lookingUpPlain, .checking, .finding, .naming: false
        }
    }

    /// Whether `found`, `checked` or `foundAccount` is what comes next.
    public var awaitsOwner: Bool {
        switch state {
        case .lookingUpScram, .lookingUpPlain, .checking, .finding, .naming: true
        case .idle, .awaitingFirst, .awaitingProof: false
        }
    }

    /// `<auth/>`; `initial` is nil when it carried nothing. Ends whatever was under way.
    public mutating func begin(mechanism name: String, initial: [UInt8]?) -> SASLServer.Step {
        state = .idle
        guard let mechanism = SASLMechanism(rawValue: name), setting.policy.allows(mechanism) else {
            return .failed(.invalidMechanism, nil)
        }
        guard setting.offered.contains(mechanism) else {
            // RFC 6120 §6.5.4: it would be offered with TLS.
            return .failed(setting.isSecure ? .invalidMechanism : .encryptionRequired, nil)
        }
        // XEP-0175 §4: who has nothing to say need not be asked.
        guard let message = initial ?? (mechanism == .anonymous ? [] : nil) else {
            state = .awaitingFirst(mechanism)
            return .challenge([])
        }
        return state.first(message, mechanism, setting)
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
        let account = state.account
        state = .idle
        return .failed(failure, account)
    }

    /// The stored keys, those of one hash; none: there is no such account, or it has no keys of that kind. Nil as an
    /// answer: nobody asked.
    public mutating func found(_ credentials: [ScramCredential]) -> SASLServer.Step? {
        state.found(credentials, setting)
    }

    /// Whether the account exists. Nil as an answer: nobody asked.
    public mutating func foundAccount(_ exists: Bool) -> SASLServer.Step? {
        state.foundAccount(exists)
    }

    /// Whether the password was right. Nil as an answer: nobody asked.
    public mutating func checked(_ matches: Bool) -> SASLServer.Step? {
        state.checked(matches)
    }
}

extension SASLServer.State {
    /// Who is being tried, as far as that is known.
    var account: BareJID? {
        switch self {
        case .lookingUpScram(_, let account, _, _), .awaitingProof(_, let account, _), .lookingUpPlain(_, let account),
            .finding(let account), .naming(let account), .checking(let account, _):
            account
        case .idle, .awaitingFirst: nil
        }
    }

    mutating func first(
        _ message: [UInt8], _ mechanism: SASLMechanism, _ setting: SASLServer.Setting
    )
        -> SASLServer.Step
    {
        self = .idle
        guard message.count <= SASLServer.longestMessage else { return .failed(.malformedRequest, nil) }
        switch mechanism {
        case .external: return external(message, setting)
        case .anonymous: return anonymous(message, setting)
        default: break
        }
        guard let hash = mechanism.hash else { return plain(message, setting) }
        guard let first = ScramClientFirst(message) else { return .failed(.malformedRequest, nil) }
        switch (first.channelBinding, mechanism.bindsChannel) {
        case (.unsupported, false): break
        case (.unoffered, false):
            // Somebody removed the -PLUS mechanisms on the way to the client (RFC 5802 §6).
            if setting.offered.contains(where: \.bindsChannel) { return .failed(.notAuthorized(.downgrade), nil) }
        case (.used(let type), true):
            guard setting.bindings[type] != nil else { return .failed(.notAuthorized(.unknownBinding), nil) }
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

    /// RFC 6120 §6.3.8, XEP-0178 §2: who the certificate names; of several the client chooses one.
    private mutating func external(_ message: [UInt8], _ setting: SASLServer.Setting) -> SASLServer.Step {
        guard !message.contains(0), let authzid = String(validating: message, as: UTF8.self) else {
            return .failed(.malformedRequest, nil)
        }
        let account: BareJID
        if authzid.isEmpty {
            guard setting.certified.count == 1, let only = setting.certified.first else {
                return .failed(.invalidAuthzid, nil)
            }
            account = only
        } else {
            guard let wanted = BareJID(authzid), setting.certified.contains(wanted) else {
                return .failed(.invalidAuthzid, nil)
            }
            account = wanted
        }
        self = .finding(account)
        return .find(account)
    }

    /// RFC 4505 §2. What the client says of itself is thrown away.
    private mutating func anonymous(_ message: [UInt8], _ setting: SASLServer.Setting) -> SASLServer.Step {
        guard !message.contains(0), String(validating: message, as: UTF8.self).map({ $0.count <= 255 }) == true,
            let local = JID.prepared(local: setting.random.uuid())
        else { return .failed(.malformedRequest, nil) }
        let account = BareJID(canonicalLocal: local, domain: setting.host)
        self = .naming(account)
        return .find(account)
    }

    mutating func foundAccount(_ exists: Bool) -> SASLServer.Step? {
        switch self {
        case .finding(let account):
            self = .idle
            return exists ? .authenticated(account, .external, nil) : .failed(.notAuthorized(.noAccount), account)
        case .naming(let account):
            self = .idle
            return exists ? .failed(.temporary, nil) : .authenticated(account, .anonymous, nil)
        case .idle, .awaitingFirst, .awaitingProof, .lookingUpScram, .lookingUpPlain, .checking:
            return nil
        }
    }

    /// The account of a user name; nobody may act as anybody else (RFC 6120 §6.3.8).
    private static func account(
        _ username: String, _ authzid: String?, _ host: String
    ) -> Result<BareJID, SASLFailure> {
        guard let local = JID.prepared(local: username) else { return .failure(.notAuthorized(.impossibleName)) }
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
            switch exchange.verify(final) {
            case .success(let signature): return .authenticated(account, mechanism, signature)
            case .failure(let failure): return .failed(failure, account)
            }
        case .idle, .lookingUpScram, .lookingUpPlain, .checking, .finding, .naming:
            self = .idle
            return .failed(.malformedRequest, nil)
        }
    }

    mutating func found(_ credentials: [ScramCredential], _ setting: SASLServer.Setting) -> SASLServer.Step? {
        switch self {
        case .lookingUpScram(let first, let account, let mechanism, let hash):
            // Made every time, so that a known user takes as long.
            let fake = setting.fake(hash, account)
            let real = credentials.first { $0.hash == hash }
            // A client hears of one salt: those keys can be tried that have it.
            let alike = real.map { real in credentials.filter { $0.isAlike(real) } } ?? [fake]
            let exchange = ScramExchange(
                first, real ?? fake, keys: alike, isFake: real == nil, nonce: setting.random.token(),
                bindings: setting.bindings, offer: setting.offer(hash))
            self = .awaitingProof(exchange, account, mechanism)
            return .challenge(exchange.serverFirst)
        case .lookingUpPlain(let password, let account):
            let fake = setting.fake(setting.policy.hashes.first ?? .sha256, account)
            let real = credentials.filter { $0.hash == credentials.first?.hash }
            self = .checking(account, isFake: real.isEmpty)
            return .check(PasswordCheck(password: password, credentials: real.isEmpty ? [fake] : real))
        case .idle, .awaitingFirst, .awaitingProof, .checking, .finding, .naming:
            return nil
        }
    }

    mutating func checked(_ matches: Bool) -> SASLServer.Step? {
        switch self {
        case .checking(let account, let isFake):
            self = .idle
            return matches && !isFake ? .authenticated(account, .plain, nil) : .failed(.notAuthorized, account)
        case .idle, .awaitingFirst, .awaitingProof, .lookingUpScram, .lookingUpPlain, .finding, .naming:
            return nil
        }
    }
}

extension SASLServer.Setting {
    /// What the stream features listed, for a client that wants to know whether it has read the same (XEP-0474 §5.1):
    /// mechanisms and, if any bind the channel, the ways to do it; each list in the order of its bytes.
    fileprivate func offer(_ hash: HashFunction) -> String {
        func list(_ names: [String]) -> String { names.joined(separator: "\u{1E}") }
        var text = list(SASLMechanism.byName.filter(offered.contains).map(\.rawValue))
        if offered.contains(where: \.bindsChannel) {
            text += "\u{1F}" + list(bindings.types.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
        }
        return Base64.encode(Crypto.hash(hash, Array(text.utf8)))
    }

    fileprivate func fake(_ hash: HashFunction, _ account: BareJID) -> ScramCredential {
        .fake(hash, account: account, iterations: policy.iterations, secret: policy.secret)
    }
}
