import Testing
import XMPPCore
import XMPPStream

@Suite struct SASLTests {
    /// Runs PLAIN as a driver does.
    static func plain(_ message: [UInt8], _ server: inout SASLServer) -> SASLServer.Step {
        let step = server.begin(mechanism: "PLAIN", initial: message)
        guard case .lookUp(let request) = step, case .check(let check) = server.found(Host.find(request)) else {
            return step
        }
        return server.checked(check.matches()) ?? step
    }

    static func plain(_ message: String) -> SASLServer.Step {
        var server = Host.server()
        return plain(Array(message.utf8), &server)
    }

    @Test(arguments: [
        "\0romeo\0wherefore", "romeo@example.net\0romeo\0wherefore", "ROMEO@Example.net\0Romeo\0wherefore",
    ])
    func `PLAIN with the right password authenticates`(_ message: String) {
        #expect(Self.plain(message) == .authenticated(Host.romeo, .plain, nil))
    }

    @Test func `PLAIN with a wrong password, or of nobody, is not authorized`() {
        #expect(Self.plain("\0romeo\0therefore") == .failed(.notAuthorized, Host.romeo))
        #expect(Self.plain("\0tybalt\0wherefore") == .failed(.notAuthorized, BareJID("tybalt@example.net")))
    }

    @Test func `an unknown user costs a derivation too, and no answer of it lets anybody in`() throws {
        var server = Host.server()
        _ = server.begin(mechanism: "PLAIN", initial: Array("\0tybalt\0wherefore".utf8))
        guard case .check = server.found([]) else {
            Issue.record("no check")
            return
        }
        #expect(server.checked(true)?.failure == .notAuthorized)
    }

    @Test(arguments: [
        "juliet@example.net", "example.net", "romeo@example.org", "romeo@example.net/balcony", "juliet", "romeo", "@",
        "romeo@example.net ", "romeo@example.net.evil",
    ])
    func `BAD-INPUTS 11: an authzid that is not the own bare address is invalid, in PLAIN and in SCRAM`(
        _ authzid: String
    ) {
        #expect(Self.plain("\(authzid)\0romeo\0wherefore").failure == .invalidAuthzid)
        var server = Host.server()
        let step = server.begin(mechanism: "SCRAM-SHA-256", initial: Array("n,a=\(authzid),n=romeo,r=x".utf8))
        #expect(step.failure == .invalidAuthzid)
    }

    @Test func `BAD-INPUTS 11: the domain of an authzid is compared in its canonical form`() {
        #expect(Self.plain("romeo@example.net.\0romeo\0wherefore").failure == nil)
    }

    @Test(arguments: [
        "", "romeo", "romeo\0wherefore", "\0", "\0\0", "\0\0\0", "\0romeo\0", "\0\0wherefore", "\0romeo\0where\0fore",
        "\0romeo\0wherefore\0", "\0\0romeo\0wherefore", "\0romeo\0where\u{7}fore", "\0romeo\0\u{627}1",
        "\0romeo\0" + String(repeating: "x", count: 1024), String(repeating: "x", count: 1 << 20),
    ])
    func `BAD-INPUTS 11: a PLAIN message that breaks the grammar is malformed`(_ message: String) {
        #expect(Self.plain(message).failure == .malformedRequest)
    }

    @Test(
        arguments: [
            [0, 0xFF, 0, 0x61], [0, 0x61, 0, 0xC3], [0xED, 0xA0, 0x80, 0, 0x61, 0, 0x61], [0, 0xC0, 0x80, 0, 0x61],
        ] as [[UInt8]])
    func `BAD-INPUTS 11: PLAIN that is not UTF-8 is malformed`(_ message: [UInt8]) {
        var server = Host.server()
        #expect(Self.plain(message, &server).failure == .malformedRequest)
    }

    @Test(arguments: ["romeo@example.net", "a b", "\u{265A}", "\u{5D0}a", "ro/meo"])
    func `BAD-INPUTS 11: a name that cannot be a local part is nobody's`(_ name: String) {
        #expect(Self.plain("\0\(name)\0wherefore").failure == .notAuthorized)
    }

    // MARK: BAD-INPUTS 12

    @Test(arguments: ["", "scram-sha-256", "SCRAM-SHA-384", "EXTERNAL", "DIGEST-MD5", "ANONYMOUS", "PLAIN "])
    func `BAD-INPUTS 12: a mechanism that does not exist here, or is not switched on, is invalid`(_ mechanism: String) {
        var server = Host.server()
        #expect(server.begin(mechanism: mechanism, initial: []).failure == .invalidMechanism)
    }

    @Test func `BAD-INPUTS 12: a mechanism that was not offered is refused`() {
        var secure = Host.server(mechanisms: [.scramSHA256])
        #expect(secure.begin(mechanism: "SCRAM-SHA-1", initial: []).failure == .invalidMechanism)
        #expect(secure.begin(mechanism: "SCRAM-SHA-256-PLUS", initial: []).failure == .invalidMechanism)
        var clear = Host.server(mechanisms: [], bindings: .none, isSecure: false)
        #expect(clear.begin(mechanism: "PLAIN", initial: []).failure == .encryptionRequired)
        #expect(clear.begin(mechanism: "SCRAM-SHA-256", initial: []).failure == .encryptionRequired)
    }

    @Test func `BAD-INPUTS 12: a response with nothing under way fails`() {
        var server = Host.server()
        #expect(server.respond([]).failure == .malformedRequest)
        #expect(server.found([]) == nil)
        #expect(server.checked(true) == nil)
    }

    @Test func `BAD-INPUTS 12: an answer of the owner counts only where it was asked for`() {
        var server = Host.server()
        _ = server.begin(mechanism: "SCRAM-SHA-256", initial: Array(ScramClient().first.utf8))
        #expect(server.checked(true) == nil)
        #expect(server.found([Host.credential()])?.challenge != nil)
        #expect(server.found([Host.credential()]) == nil)
        #expect(server.checked(true) == nil)
    }

    @Test func `after an abort everything begins anew`() throws {
        var server = Host.server()
        let challenge = try #require(server.start("SCRAM-SHA-256", ScramClient().first).challenge)
        #expect(server.abort() == .failed(.aborted, nil))
        let final = try ScramClient().final(for: challenge)
        #expect(server.respond(Array(final.message.utf8)).failure == .malformedRequest)
        #expect(try ScramTests.run(ScramClient(), .scramSHA256, &server).failure == nil)
    }

    @Test(arguments: SASLFailure.Condition.allCases)
    func `a failure is an element of its condition`(_ condition: SASLFailure.Condition) {
        let element = SASLFailure(condition, text: "No.").element
        #expect(element.isNamed("failure", .sasl))
        #expect(element.first(condition.rawValue, .sasl) != nil)
        #expect(element.first("text", .sasl)?.text == "No.")
        #expect(element.first("text", .sasl)?.language == "en")
    }
}
