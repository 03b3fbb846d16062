import Testing
import XMPPCore

@testable import XMPPStream

@Suite struct ScramTests {
    /// Runs the messages of a document against its server's nonce.
    private func exchange(
        _ hash: HashFunction, salt: String, nonce: String, first: String, final: String
    ) throws -> (challenge: String, signature: String) {
        let credential = ScramCredential(
            deriving: hash, from: try #require(PreparedPassword("pencil")), iterations: 4096,
            salt: try #require(Base64.decode(salt)))
        let begin = try #require(ScramClientFirst(Array(first.utf8)))
        let exchange = ScramExchange(
            begin, credential, isFake: false, nonce: nonce,
            bindings: .none)
        let last = try #require(ScramClientFinal(Array(final.utf8)))
        let signature = try exchange.verify(last).get()
        return (String(decoding: exchange.serverFirst, as: UTF8.self), String(decoding: signature, as: UTF8.self))
    }

    @Test func `the exchange of RFC 5802 §5 succeeds to the last byte`() throws {
        let nonce = "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
        let (challenge, signature) = try exchange(
            .sha1, salt: "QSXCR+Q6sek8bf92", nonce: "3rfcNHYJY1ZVvWVs7j",
            first: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            final: "c=biws,r=\(nonce),p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
        #expect(challenge == "r=\(nonce),s=QSXCR+Q6sek8bf92,i=4096")
        #expect(signature == "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")
    }

    @Test func `the exchange of RFC 7677 §3 succeeds to the last byte`() throws {
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        let (challenge, signature) = try exchange(
            .sha256, salt: "W22ZaJ0SNY7soEsUEjb6gQ==", nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            first: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            final: "c=biws,r=\(nonce),p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
        #expect(challenge == "r=\(nonce),s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        #expect(signature == "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    }

    /// Runs an exchange with the client's own idea of it.
    static func run(
        _ client: ScramClient, _ mechanism: SASLMechanism, _ server: inout SASLServer
    ) throws
        -> SASLServer.Step
    {
        let step = server.start(mechanism.rawValue, client.first)
        guard let challenge = step.challenge else { return step }
        return server.respond(Array(try client.final(for: challenge).message.utf8))
    }

    @Test(
        arguments: [
            (SASLMechanism.scramSHA512Plus, "p=tls-exporter,,", [1, 2, 3]), (.scramSHA512, "n,,", []),
            (.scramSHA256Plus, "p=tls-exporter,,", [1, 2, 3]),
            (.scramSHA1Plus, "p=tls-exporter,,", [1, 2, 3]),
            (.scramSHA256Plus, "p=tls-server-end-point,,", [4, 5, 6]),
            (.scramSHA256, "n,,", []), (.scramSHA1, "n,,", []),
            (.scramSHA256, "n,a=romeo@example.net,", []), (.scramSHA256, "n,a=ROMEO@Example.NET,", []),
        ] as [(SASLMechanism, String, [UInt8])])
    func `every mechanism and channel binding authenticates`(
        _ mechanism: SASLMechanism, _ gs2: String, _ binding: [UInt8]
    ) throws {
        var server = Host.server()
        let client = ScramClient(hash: try #require(mechanism.hash), gs2: gs2, binding: binding)
        let challenge = try #require(server.start(mechanism.rawValue, client.first).challenge)
        let final = try client.final(for: challenge)
        #expect(
            server.respond(Array(final.message.utf8))
                == .authenticated(Host.romeo, mechanism, Array(final.signature.utf8)))
    }

    @Test(arguments: SASLMechanism.allCases.filter { $0.hash != nil }, FramingKind.allCases)
    func `every mechanism authenticates a stream`(_ mechanism: SASLMechanism, _ framing: FramingKind) throws {
        let client =
            mechanism.bindsChannel
            ? ScramClient(hash: try #require(mechanism.hash), gs2: "p=tls-exporter,,", binding: [1, 2, 3])
            : ScramClient(hash: try #require(mechanism.hash))
        let stream = Stream(framing)
        _ = stream.secure()
        guard
            case .authentication(.lookUp(let request)) = stream.send(Client.auth(mechanism.rawValue, client.first)),
            case .challenge(let challenge) = stream.found(Host.find(request))
        else {
            Issue.record("no challenge")
            return
        }
        let text = String(decoding: try #require(Base64.decode(challenge.text)), as: UTF8.self)
        let final = try client.final(for: text)
        guard case .authentication(.authenticated(let done)) = stream.send(Client.response(final.message)) else {
            Issue.record("not authenticated")
            return
        }
        #expect(done.mechanism == mechanism)
        #expect(done.success.text == Base64.encode(Array(final.signature.utf8)))
        #expect(stream.open().features?.outline == ["bind", "sm"])
    }

    @Test func `the mechanism may come without its first message`() throws {
        var server = Host.server()
        #expect(server.begin(mechanism: "SCRAM-SHA-256", initial: nil) == .challenge([]))
        guard case .lookUp(let request) = server.respond(Array(ScramClient().first.utf8)) else {
            Issue.record("no lookup")
            return
        }
        let challenge = try #require(server.found(Host.find(request))?.challenge)
        let final = try ScramClient().final(for: challenge)
        #expect(server.respond(Array(final.message.utf8)).failure == nil)
    }

    @Test func `extensions that nobody knows are ignored, and signed`() throws {
        var server = Host.server()
        let client = ScramClient(extensions: ",x=1,Z=two words")
        let challenge = try #require(server.start("SCRAM-SHA-256", client.first).challenge)
        let final = try client.final(for: challenge, tail: ",y=3")
        #expect(server.respond(Array(final.message.utf8)).failure == nil)
    }

    @Test func `a user name is canonical whatever way it is written`() throws {
        for name in ["ROMEO", "\u{FF52}omeo", "Rome\u{FF4F}"] {
            var server = Host.server()
            #expect(try Self.run(ScramClient(user: name), .scramSHA256, &server).failure == nil)
        }
        var server = Host.server()
        guard
            case .lookUp(let request) = server.begin(
                mechanism: "SCRAM-SHA-256", initial: Array("n,,n=a=2Cb=3Dc,r=x".utf8))
        else {
            Issue.record("no lookup")
            return
        }
        #expect(request.account.local == "a,b=c")
    }

    // MARK: BAD-INPUTS 13

    @Test func `BAD-INPUTS 13: a wrong password is not authorized`() throws {
        var server = Host.server()
        #expect(try Self.run(ScramClient(password: "therefore"), .scramSHA256, &server).failure == .notAuthorized)
    }

    @Test(arguments: ["abcdefgh", "abcdefghSERVERx", "xxxxxxxxSERVER", "abcdefghserver", "SERVER"])
    func `BAD-INPUTS 13: a nonce that is not the one of this exchange is refused`(_ nonce: String) throws {
        var server = Host.server()
        let challenge = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
        let final = try ScramClient().final(for: challenge, changingNonce: nonce)
        #expect(server.respond(Array(final.message.utf8)).failure == .notAuthorized)
    }

    @Test func `BAD-INPUTS 13: a c= that differs from the header is refused`() throws {
        for wrong in ["eSws", "bixhPWEs", Base64.encode(Array("n,,x".utf8)), Base64.encode([])] {
            var server = Host.server()
            let challenge = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
            let final = try ScramClient().final(for: challenge, binding: wrong)
            #expect(server.respond(Array(final.message.utf8)).failure != nil)
        }
    }

    @Test func `BAD-INPUTS 13: the y flag when -PLUS was offered is a downgrade`() throws {
        var server = Host.server()
        #expect(try Self.run(ScramClient(gs2: "y,,"), .scramSHA256, &server).failure == .notAuthorized)
        var clear = Host.server(mechanisms: [.scramSHA256, .scramSHA1], bindings: .none)
        #expect(try Self.run(ScramClient(gs2: "y,,"), .scramSHA256, &clear).failure == nil)
    }

    @Test func `BAD-INPUTS 13: a channel binding of another type or connection is refused`() throws {
        var unknown = Host.server()
        let unique = ScramClient(gs2: "p=tls-unique,,", binding: [1, 2, 3])
        #expect(try Self.run(unique, .scramSHA256Plus, &unknown).failure == .notAuthorized)
        var other = Host.server()
        let foreign = ScramClient(gs2: "p=tls-exporter,,", binding: [9, 9, 9])
        #expect(try Self.run(foreign, .scramSHA256Plus, &other).failure == .notAuthorized)
        var mixed = Host.server()
        let swapped = ScramClient(gs2: "p=tls-exporter,,", binding: [4, 5, 6])
        #expect(try Self.run(swapped, .scramSHA256Plus, &mixed).failure == .notAuthorized)
        var missing = Host.server(bindings: ChannelBindings(serverEndPoint: [4, 5, 6]))
        let exporter = ScramClient(gs2: "p=tls-exporter,,", binding: [])
        #expect(try Self.run(exporter, .scramSHA256Plus, &missing).failure == .notAuthorized)
    }

    @Test(arguments: [
        (SASLMechanism.scramSHA256Plus, "n,,"), (.scramSHA256Plus, "y,,"), (.scramSHA256, "p=tls-exporter,,"),
    ])
    func `BAD-INPUTS 13: the flag has to fit the mechanism`(_ mechanism: SASLMechanism, _ gs2: String) throws {
        var server = Host.server()
        #expect(try Self.run(ScramClient(gs2: gs2), mechanism, &server).failure == .malformedRequest)
    }

    @Test func `BAD-INPUTS 13: another iteration count or salt makes another proof`() throws {
        for change in [("i=64", "i=1"), ("s=c2Fs", "s=d2Fs")] {
            var server = Host.server()
            let challenge = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
            let parts = challenge.split(separator: change.0, maxSplits: 1, omittingEmptySubsequences: false)
            let tampered = try #require(parts.count == 2 ? parts.joined(separator: change.1) : nil)
            let final = try ScramClient().final(for: tampered)
            #expect(server.respond(Array(final.message.utf8)).failure == .notAuthorized)
        }
    }

    @Test func `BAD-INPUTS 13: a last message is good for one exchange`() throws {
        var server = Host.server()
        let challenge = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
        let final = try ScramClient().final(for: challenge)
        #expect(server.respond(Array(final.message.utf8)).failure == nil)
        #expect(server.respond(Array(final.message.utf8)).failure == .malformedRequest)
        var later = SASLServer(
            host: "example.net", policy: Host.policy, offered: SASLMechanism.allCases, bindings: Host.bindings,
            isSecure: true)
        _ = later.start("SCRAM-SHA-256", ScramClient().first)
        #expect(later.respond(Array(final.message.utf8)).failure == .notAuthorized)
    }

    @Test func `BAD-INPUTS 13: an unknown user gets a stable salt, the usual count, and the same refusal`() throws {
        var challenges: Set<String> = []
        for _ in 0..<3 {
            var server = Host.server()
            let client = ScramClient(user: "tybalt")
            let challenge = try #require(server.start("SCRAM-SHA-256", client.first).challenge)
            challenges.insert(challenge)
            let final = try client.final(for: challenge)
            #expect(server.respond(Array(final.message.utf8)).failure == .notAuthorized)
        }
        #expect(challenges.count == 1)
        #expect(challenges.first?.contains(",i=64,h=") == true)
        // The salt of a known user has as many bytes.
        var server = Host.server()
        let known = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
        #expect(known.utf8.count == challenges.first?.utf8.count)
    }

    @Test func `a credential for another hash is as good as none`() throws {
        var server = Host.server()
        _ = server.begin(mechanism: "SCRAM-SHA-1", initial: Array(ScramClient(hash: .sha1).first.utf8))
        let challenge = try #require(server.found([Host.credential(.sha256)])?.challenge)
        let final = try ScramClient(hash: .sha1).final(for: challenge)
        #expect(server.respond(Array(final.message.utf8)).failure == .notAuthorized)
    }

    static let badFirsts = [
        "", "n", "n,", "n,,", "n,,n=romeo", "n,,r=x,n=romeo", "n,,n=,r=x", "n,,n=romeo,r=", "n,,n=romeo,r=a b",
        "n,,n=romeo,r=\u{E9}", "n,,n=romeo,r=x,", "n,,n=romeo,r=x,y", "n,,n=romeo,r=x,1=2", "n,,n=romeo,r=x,m=2",
        "n,,m=ext,n=romeo,r=x", "n,,n=ro=meo,r=x", "n,,n=ro=2cmeo,r=x", "n,,n=romeo=,r=x", "n,,n=romeo=2,r=x",
        "n,,n=ro\0meo,r=x", "x,,n=romeo,r=x", "N,,n=romeo,r=x", "p=,,n=romeo,r=x", "p,,n=romeo,r=x",
        "n,romeo@example.net,n=romeo,r=x", "n,a=,n=romeo,r=x", "n,b=romeo,n=romeo,r=x", "nn,,n=romeo,r=x",
        " n,,n=romeo,r=x", "n,,n=romeo,r=" + String(repeating: "x", count: 257),
        "n,,n=" + String(repeating: "x", count: 5000) + ",r=x",
    ]

    @Test(arguments: badFirsts)
    func `BAD-INPUTS 13: a first message that breaks the grammar is malformed`(_ message: String) {
        var server = Host.server()
        let step = server.begin(mechanism: "SCRAM-SHA-256", initial: Array(message.utf8))
        #expect(step.failure == .malformedRequest)
    }

    @Test func `BAD-INPUTS 13: a last message that breaks the grammar is malformed`() throws {
        let good = "c=biws,r=abcdefghSERVER,p=AAAA"
        let bad = [
            "", "c=biws", "c=biws,r=abcdefghSERVER", "c=biws,r=abcdefghSERVER,p=", "r=abcdefghSERVER,c=biws,p=AAAA",
            "c=biw,r=abcdefghSERVER,p=AAAA", "c=biws,r=abcdefghSERVER,p=AAA", "c=biws,r=abcdefghSERVER,p=AA\nAA",
            "c=biws,r=abcdefghSERVER,p=AAAA,x=1", "c=biws,r=abcdefghSERVER,m=1,p=AAAA",
            "c=biws,r=abcdefghSERVER,,p=AAAA",
            "c=biws,p=AAAA,r=abcdefghSERVER", good + ",", good + String(repeating: "A", count: 5000),
        ]
        for message in bad {
            var server = Host.server()
            _ = server.start("SCRAM-SHA-256", ScramClient().first)
            let failure = server.respond(Array(message.utf8)).failure
            #expect(failure == .malformedRequest || message.hasSuffix("p="), "\(message)")
            #expect(failure != nil)
        }
        var server = Host.server()
        _ = server.start("SCRAM-SHA-256", ScramClient().first)
        #expect(server.respond(Array(good.utf8)).failure == .notAuthorized)
    }

    @Test func `random messages never authenticate and never stop the process`() {
        let pieces = [
            "n,,", "y,,", "p=tls-exporter,,", "n=", "r=", "m=", "a=", "c=", "p=", "=2C", "=3D", ",", "=", "\0", "biws",
        ]
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<3000 {
            var server = Host.server()
            func message() -> [UInt8] {
                var bytes: [UInt8] = []
                for _ in 0..<Int.random(in: 0...8, using: &generator) {
                    bytes += Array(pieces[Int.random(in: 0..<pieces.count, using: &generator)].utf8)
                    if Bool.random(using: &generator) { bytes.append(UInt8.random(in: 0...255, using: &generator)) }
                }
                return bytes
            }
            for mechanism in SASLMechanism.allCases {
                if case .lookUp(let request) = server.begin(mechanism: mechanism.rawValue, initial: message()) {
                    if case .check = server.found(Host.find(request)) { _ = server.checked(false) }
                }
                if case .authenticated = server.respond(message()) { Issue.record("authenticated") }
            }
        }
    }
}
