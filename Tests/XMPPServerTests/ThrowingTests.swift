import Messages
import ModuleKit
import ModuleTesting
import Testing

/// Every handler of it fails.
struct ThrowingModule: Module {
    static let info = ModuleInfo("throwing")
    static let namespace: Namespace = "urn:test:throwing"

    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        host.iq(.get, Self.namespace, "now", at: [.host], from: .anyone) { _ throws(StanzaError) in
            throw .internalServerError
        }
        host.iq(.get, Self.namespace, "later", at: [.host], from: .anyone, answering: .inOrder) {
            _, _ throws(StanzaError) in
            throw .internalServerError
        }
        host.received.add(.admit, on: .message) { _ in .reject(.internalServerError) }
    }
}

@Suite struct ThrowingTests {
    @Test func `BAD-INPUTS 39: what fails in a handler ends one stanza, which is answered and counted`() async throws {
        let server = try await TestServer([MessagesModule.self, ThrowingModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        for stanza in [
            "<iq type='get' id='1' to='example.org'><now xmlns='urn:test:throwing'/></iq>",
            "<iq type='get' id='1' to='example.org'><later xmlns='urn:test:throwing'/></iq>",
            "<message id='1' to='juliet@example.org'><body>x</body></message>",
        ] {
            let before = try #require(await server.status("stanzas_bounced"))
            romeo.inbox = []
            romeo.send(stanza)
            server.settle()
            let answer = try #require(romeo.inbox.first { $0[attribute: "id"] == "1" })
            #expect(answer.first("error", .client)?.first("internal-server-error", .stanzaErrors) != nil)
            #expect(await server.status("stanzas_bounced") == before + 1)
        }
        #expect(romeo.phase == .ready)
        #expect(romeo.errors.isEmpty)
        await server.stop()
    }
}
