import Testing
import XMPPCore
import XMPPStream

/// Which failures are guesses, and how many of each a stream may have.
@Suite struct RefusalTests {
    private static let policy = HostPolicy(
        authentication: AuthenticationPolicy(iterations: 64, secret: Host.secret, attempts: 2, refusals: 8))

    /// The client's side of an exchange that comes as far as the proof.
    private func finish(
        _ stream: Stream, _ client: ScramClient, nonce: String? = nil, binding: String? = nil
    ) throws -> C2SNegotiation.Rejection? {
        guard case .authentication(.lookUp(let request)) = stream.send(Client.auth("SCRAM-SHA-256", client.first)),
            case .challenge(let challenge) = stream.found(Host.find(request))
        else { return nil }
        let text = String(decoding: Base64.decode(challenge.text) ?? [], as: UTF8.self)
        let final = try client.final(for: text, changingNonce: nonce, binding: binding)
        return stream.send(Client.response(final.message)).rejection
    }

    /// slixmpp 1.8.3: `tls-unique` for each -PLUS mechanism, then each of the others with the flag `y`, then PLAIN.
    @Test(arguments: FramingKind.allCases)
    func `a client that goes through six mechanisms before it comes to a password gets in`(_ framing: FramingKind) {
        let stream = Stream(framing, policy: Self.policy)
        _ = stream.secure()
        for hash in ["512", "256", "1"] {
            let rejection = stream.send(Client.auth("SCRAM-SHA-\(hash)-PLUS", "p=tls-unique,,n=romeo,r=abc")).rejection
            #expect(rejection?.failure.condition == .notAuthorized)
            #expect(rejection?.failure.cause == .unknownBinding)
            #expect(rejection?.closing == nil)
        }
        for hash in ["512", "256", "1"] {
            let rejection = stream.send(Client.auth("SCRAM-SHA-\(hash)", "y,,n=romeo,r=abc")).rejection
            #expect(rejection?.failure.condition == .notAuthorized)
            #expect(rejection?.failure.cause == .downgrade)
            #expect(rejection?.closing == nil)
        }
        guard case .authenticated = stream.plain() else {
            Issue.record("not authenticated")
            return
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `wrong passwords are bounded apart from what else fails`(_ framing: FramingKind) throws {
        let stream = Stream(framing, policy: Self.policy)
        _ = stream.secure()
        for _ in 0..<7 { #expect(stream.send(Client.auth("SCRAM-SHA-1", "y,,n=romeo,r=x")).rejection?.closing == nil) }
        let first = try finish(stream, ScramClient(password: "therefore"))
        #expect(first?.failure == .notAuthorized)
        #expect(first?.closing == nil)
        guard case .rejected(let second) = stream.plain("therefore") else {
            Issue.record("not rejected")
            return
        }
        #expect(second.closing?.condition == .policyViolation)
    }

    @Test(arguments: FramingKind.allCases)
    func `what fails without a password has an end too`(_ framing: FramingKind) {
        let stream = Stream(framing, policy: Self.policy)
        _ = stream.secure()
        for _ in 0..<7 { #expect(stream.send(Client.auth("SCRAM-SHA-1", "y,,n=romeo,r=x")).rejection?.closing == nil) }
        let last = stream.send(Client.auth("NONSENSE", "x")).rejection
        #expect(last?.closing?.condition == .policyViolation)
        #expect(stream.isEnded)
    }

    /// Whether the proof was right decides nothing there, so nobody learns it.
    @Test(arguments: ["wherefore", "therefore"], FramingKind.allCases)
    func `a proof for another channel or challenge is no guess, whatever the password`(
        _ password: String, _ framing: FramingKind
    ) throws {
        let stream = Stream(framing, policy: Self.policy)
        _ = stream.secure()
        for _ in 0..<2 {
            let client = ScramClient(password: password)
            let channel = try finish(stream, client, binding: Base64.encode(Array("n,,x".utf8)))
            #expect(channel?.failure.cause == .otherChannel)
            #expect(channel?.failure.condition == .notAuthorized)
            let challenge = try finish(stream, client, nonce: "abcdefghOTHER")
            #expect(challenge?.failure.cause == .otherChallenge)
            #expect(challenge?.element == channel?.element)
            #expect(challenge?.closing == nil)
        }
        #expect(!stream.isEnded)
    }
}
