import Testing
import XMPPCore
import XMPPStream

/// EXTERNAL with a certificate (RFC 6120 §6.3.4, XEP-0178 §2) and ANONYMOUS (RFC 4505, XEP-0175).
@Suite struct ExternalTests {
    static let juliet = BareJID("juliet@example.net")!

    static func server(_ certified: [BareJID], _ offered: [SASLMechanism] = [.external, .plain]) -> SASLServer {
        Host.server(mechanisms: offered, certified: certified)
    }

    @Test(arguments: ["", "romeo@example.net", "ROMEO@Example.net."])
    func `who the only address of the certificate names is let in`(_ authzid: String) {
        var server = Self.server([Host.romeo])
        #expect(server.begin(mechanism: "EXTERNAL", initial: Array(authzid.utf8)) == .find(Host.romeo))
        #expect(server.foundAccount(true) == .authenticated(Host.romeo, .external, nil))
        #expect(server.foundAccount(true) == nil)
    }

    @Test func `of several addresses the client chooses one`() {
        var server = Self.server([Host.romeo, Self.juliet])
        #expect(server.begin(mechanism: "EXTERNAL", initial: []).failure == .invalidAuthzid)
        #expect(
            server.begin(mechanism: "EXTERNAL", initial: Array("juliet@example.net".utf8)) == .find(Self.juliet))
        #expect(server.foundAccount(true) == .authenticated(Self.juliet, .external, nil))
    }

    @Test(arguments: [
        "juliet@example.net", "romeo@example.org", "romeo@example.net/balcony", "example.net", "romeo", "@",
        "romeo@example.net ", " ",
    ])
    func `BAD-INPUTS 11: an authzid that the certificate does not name is invalid`(_ authzid: String) {
        var server = Self.server([Host.romeo])
        #expect(server.begin(mechanism: "EXTERNAL", initial: Array(authzid.utf8)).failure == .invalidAuthzid)
        #expect(server.foundAccount(true) == nil)
    }

    @Test(
        arguments: [[0], [0xFF], Array("romeo@example.net\0".utf8), [UInt8](repeating: 0x61, count: 5000)] as [[UInt8]])
    func `BAD-INPUTS 11: what is no text is malformed`(_ message: [UInt8]) {
        var server = Self.server([Host.romeo])
        #expect(server.begin(mechanism: "EXTERNAL", initial: message).failure == .malformedRequest)
    }

    @Test func `who has a certificate and no account is not authorized`() {
        var server = Self.server([Host.romeo])
        _ = server.begin(mechanism: "EXTERNAL", initial: [])
        #expect(server.foundAccount(false) == .failed(SASLFailure(.notAuthorized, cause: .noAccount), Host.romeo))
    }

    @Test func `the address may come on its own`() {
        var server = Self.server([Host.romeo])
        #expect(server.begin(mechanism: "EXTERNAL", initial: nil) == .challenge([]))
        #expect(server.respond([]) == .find(Host.romeo))
        #expect(server.foundAccount(true) == .authenticated(Host.romeo, .external, nil))
    }

    @Test(arguments: FramingKind.allCases)
    func `EXTERNAL is offered to who showed a certificate with an address of the host`(_ framing: FramingKind) {
        for (addresses, isOffered) in [
            (["romeo@example.net"], true), ([], false), (["romeo@example.org"], false), (["example.net"], false),
            (["romeo@example.net/balcony"], false), (["\0romeo@example.net"], false),
            (["romeo@example.org", "Juliet@EXAMPLE.net"], true),
        ] {
            let stream = Stream(framing)
            stream.certificate = addresses
            let mechanisms = stream.secure().features?.first("mechanisms", .sasl)?.elements.map(\.text)
            #expect(mechanisms?.contains("EXTERNAL") == isOffered, "\(addresses)")
            let begun = stream.send(Client.auth("EXTERNAL", ""))
            #expect((begun.rejection == nil) == isOffered, "\(addresses)")
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `a certificate is nothing without TLS, and nothing where EXTERNAL is switched off`(_ framing: FramingKind) {
        let clear = Stream(framing, .none)
        clear.certificate = ["romeo@example.net"]
        #expect(clear.open().features?.outline.first?.contains("EXTERNAL") == false)
        var policy = Host.policy
        policy.mechanisms.remove(.external)
        let off = Stream(framing, policy: HostPolicy(authentication: policy))
        off.certificate = ["romeo@example.net"]
        #expect(off.secure().features?.outline.first?.contains("EXTERNAL") == false)
        #expect(off.send(Client.auth("EXTERNAL", "")).rejection?.failure.condition == .invalidMechanism)
    }

    @Test(arguments: FramingKind.allCases)
    func `a certificate opens a stream`(_ framing: FramingKind) {
        let stream = Stream(framing)
        stream.certificate = ["romeo@example.net"]
        _ = stream.secure()
        #expect(stream.send(Client.auth("EXTERNAL", "")) == .authentication(.find(Host.romeo)))
        guard case .authenticated(let done) = stream.foundAccount(true) else {
            Issue.record("not authenticated")
            return
        }
        #expect(done.mechanism == .external)
        #expect(done.success.text.isEmpty)
        #expect(stream.open().features?.outline == ["bind", "sm"])
    }

    // MARK: ANONYMOUS

    static let open = AuthenticationPolicy(mechanisms: [.anonymous], secret: Host.secret, attempts: 100)

    static func anonymous(_ random: RandomSource = .system) -> SASLServer {
        SASLServer(
            host: "example.net", policy: open, offered: [.anonymous], bindings: .none, isSecure: true, random: random)
    }

    @Test(arguments: [nil, [], Array("sirhc".utf8)] as [[UInt8]?])
    func `ANONYMOUS gives a new name each time, whatever the client says of itself`(_ trace: [UInt8]?) throws {
        var names: Set<BareJID> = []
        for _ in 0..<20 {
            var server = Self.anonymous()
            guard case .find(let account) = server.begin(mechanism: "ANONYMOUS", initial: trace) else {
                Issue.record("no name")
                return
            }
            #expect(account.domain == "example.net")
            #expect(
                account.local.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/)
                    != nil)
            #expect(server.foundAccount(false) == .authenticated(account, .anonymous, nil))
            names.insert(account)
        }
        #expect(names.count == 20)
    }

    @Test func `ANONYMOUS never gives away the name of an account`() {
        var server = Self.anonymous()
        _ = server.begin(mechanism: "ANONYMOUS", initial: nil)
        #expect(server.foundAccount(true)?.failure == .temporaryAuthFailure)
    }

    @Test(arguments: [[0xFF], [0x61, 0], [UInt8](repeating: 0x61, count: 256)] as [[UInt8]])
    func `RFC 4505 §2: a trace that breaks the grammar is malformed`(_ trace: [UInt8]) {
        var server = Self.anonymous()
        #expect(server.begin(mechanism: "ANONYMOUS", initial: trace).failure == .malformedRequest)
    }
}
