import Testing
import XMPPCore
import XMPPStream

/// XEP-0474, and which mechanisms there are at all.
@Suite struct DowngradeTests {
    static func hash(_ hash: HashFunction, _ text: String) -> String {
        Base64.encode(Crypto.hash(hash, Array(text.utf8)))
    }

    static func attribute(_ challenge: String?) -> String? {
        challenge?.split(separator: ",").first { $0.hasPrefix("h=") }.map { String($0.dropFirst(2)) }
    }

    /// What a server that offers these says of it.
    static func attribute(
        _ mechanism: SASLMechanism, of offered: [SASLMechanism], _ bindings: ChannelBindings
    ) throws -> String? {
        var server = Host.server(mechanisms: offered, bindings: bindings)
        let hash = try #require(mechanism.hash)
        let client = ScramClient(
            hash: hash, gs2: mechanism.bindsChannel ? "p=tls-exporter,," : "n,,", binding: [1, 2, 3])
        return attribute(server.start(mechanism.rawValue, client.first).challenge)
    }

    @Test func `the example of XEP-0474 §5_3 has its value`() throws {
        let value = try Self.attribute(.scramSHA1Plus, of: [.scramSHA1Plus, .scramSHA1], Host.bindings)
        #expect(value == "G6k/rBLDqgOhRRaCuuatSDFkJ08=")
    }

    @Test func `mechanisms are sorted by their bytes, and hashed with the hash of the mechanism`() throws {
        let offered: [SASLMechanism] = [.scramSHA512, .scramSHA256, .scramSHA1, .plain]
        let text = "PLAIN\u{1E}SCRAM-SHA-1\u{1E}SCRAM-SHA-256\u{1E}SCRAM-SHA-512"
        for mechanism in offered {
            guard let hash = mechanism.hash else { continue }
            #expect(try Self.attribute(mechanism, of: offered, .none) == Self.hash(hash, text))
        }
    }

    @Test func `types of channel binding count when they were listed`() throws {
        let offered: [SASLMechanism] = [.scramSHA256Plus, .scramSHA256]
        let listed = "SCRAM-SHA-256\u{1E}SCRAM-SHA-256-PLUS\u{1F}tls-exporter"
        #expect(
            try Self.attribute(.scramSHA256, of: offered, ChannelBindings(exporter: [1]))
                == Self.hash(.sha256, listed))
        // With no mechanism to use them they are not listed.
        #expect(
            try Self.attribute(.scramSHA256, of: [.scramSHA256], Host.bindings)
                == Self.hash(.sha256, "SCRAM-SHA-256"))
    }

    @Test(arguments: FramingKind.allCases)
    func `what a stream says of its features is what it has listed`(_ framing: FramingKind) throws {
        let stream = Stream(framing)
        let features = try #require(stream.secure().features)
        let mechanisms = try #require(features.first("mechanisms", .sasl)).elements.map(\.text).sorted()
        let types = try #require(features.first("sasl-channel-binding", .saslChannelBinding)).elements
            .compactMap { $0[attribute: "type"] }.sorted()
        guard
            case .authentication(.lookUp(let request)) = stream.send(
                Client.auth("SCRAM-SHA-256", ScramClient().first)),
            case .challenge(let challenge) = stream.found(Host.find(request))
        else {
            Issue.record("no challenge")
            return
        }
        let text = String(decoding: try #require(Base64.decode(challenge.text)), as: UTF8.self)
        let listed = mechanisms.joined(separator: "\u{1E}") + "\u{1F}" + types.joined(separator: "\u{1E}")
        #expect(Self.attribute(text) == Self.hash(.sha256, listed))
    }

    @Test func `an unknown user is told the same`() throws {
        var (known, unknown) = (Host.server(), Host.server())
        let real = known.start("SCRAM-SHA-256", ScramClient().first).challenge
        let fake = unknown.start("SCRAM-SHA-256", ScramClient(user: "tybalt").first).challenge
        #expect(Self.attribute(real) != nil)
        #expect(Self.attribute(real) == Self.attribute(fake))
    }

    @Test func `a challenge that somebody changed on the way fails`() throws {
        var server = Host.server()
        let challenge = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
        let value = try #require(Self.attribute(challenge))
        let forged = challenge.replacing(value, with: Self.hash(.sha256, "SCRAM-SHA-256"))
        let final = try ScramClient().final(for: forged)
        #expect(server.respond(Array(final.message.utf8)).failure == .notAuthorized)
    }

    // MARK: What there is

    @Test(arguments: FramingKind.allCases)
    func `only hashes and mechanisms of the policy are offered, and used`(_ framing: FramingKind) {
        let policy = AuthenticationPolicy(
            mechanisms: [.scramSHA512, .scramSHA1, .scramSHA512Plus], hashes: [.sha512, .sha256], secret: Host.secret,
            attempts: 10)
        let stream = Stream(framing, policy: HostPolicy(authentication: policy))
        #expect(stream.secure().features?.outline.first == "mechanisms[SCRAM-SHA-512-PLUS SCRAM-SHA-512]")
        for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "EXTERNAL", "ANONYMOUS"] {
            let rejection = stream.send(Client.auth(mechanism, ScramClient().first)).rejection
            #expect(rejection?.failure.condition == .invalidMechanism)
        }
    }

    @Test func `PLAIN takes an account whose keys are of a hash that is no longer offered`() {
        let policy = AuthenticationPolicy(hashes: [.sha512], iterations: 64, secret: Host.secret)
        var server = Host.server(policy: policy)
        let step = server.begin(mechanism: "PLAIN", initial: Array("\0romeo\0wherefore".utf8))
        guard case .lookUp(let request) = step else {
            Issue.record("no lookup")
            return
        }
        #expect(request.hashes == [.sha512, .sha256, .sha1])
        guard case .check(let check) = server.found([Host.credential(.sha1)]) else {
            Issue.record("no check")
            return
        }
        #expect(server.checked(check.matches()) == .authenticated(Host.romeo, .plain, nil))
    }

    @Test func `the password of a device is as good as the account's`() throws {
        let device = ScramCredential(
            deriving: .sha256, from: try #require(PreparedPassword("of the telephone")), iterations: 64,
            salt: Host.credential().salt)
        for password in ["wherefore", "of the telephone"] {
            var server = Host.server()
            let client = ScramClient(password: password)
            _ = server.begin(mechanism: "SCRAM-SHA-256", initial: Array(client.first.utf8))
            let challenge = try #require(server.found([Host.credential(), device])?.challenge)
            let final = try client.final(for: challenge)
            #expect(
                server.respond(Array(final.message.utf8))
                    == .authenticated(Host.romeo, .scramSHA256, Array(final.signature.utf8)))
        }
        var server = Host.server()
        let client = ScramClient(password: "of nobody")
        _ = server.begin(mechanism: "SCRAM-SHA-256", initial: Array(client.first.utf8))
        let challenge = try #require(server.found([Host.credential(), device])?.challenge)
        let final = try client.final(for: challenge)
        #expect(server.respond(Array(final.message.utf8)).failure == .notAuthorized)
    }

    // MARK: BAD-INPUTS 12

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 12: what comes out of turn is counted`(_ framing: FramingKind) throws {
        let response = Client.response("x")
        var stream = Stream(framing)
        _ = stream.secure()
        #expect(stream.send(response).rejection?.failure.condition == .malformedRequest)
        #expect(stream.outOfTurn == 1)
        // An exchange instead of another one that had not ended.
        guard
            case .authentication(.lookUp(let request)) = stream.send(Client.auth("SCRAM-SHA-256", ScramClient().first))
        else {
            Issue.record("no lookup")
            return
        }
        _ = stream.found(Host.find(request))
        #expect(
            stream.send(Client.auth("PLAIN", nil)) == .authentication(.challenge(Element("challenge", .sasl))))
        #expect(stream.outOfTurn == 2)

        // Before our answer.
        stream = Stream(framing)
        _ = stream.secure()
        _ = stream.send(Client.auth("PLAIN", "\0romeo\0wherefore"))
        #expect(stream.send(Client.auth("PLAIN", "\0juliet\0wherefore")).error == .policyViolation)
        #expect(stream.outOfTurn == 1)

        // After success, with and without a new header.
        for element in [Client.auth("PLAIN", "\0romeo\0wherefore"), response, Element("abort", .sasl)] {
            stream = Stream(framing)
            _ = stream.authenticate()
            #expect(stream.send(element).error == .policyViolation)
            #expect(stream.isEnded)
            #expect(stream.outOfTurn == 1)
            stream = Stream(framing)
            _ = stream.secure()
            _ = stream.plain()
            #expect(stream.hand(element).error == .policyViolation)
            #expect(stream.outOfTurn == 1)
        }
    }
}
