import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// Logins by certificate (XEP-0178 §2), from where the transport has read it.
@Suite struct CertificateLoginTests {
    private func certified(_ addresses: [String], on server: TestServer) -> TestClient {
        var options = TestClient.Options()
        options.mechanism = .external
        options.certificate = addresses
        let client = server.client("romeo@example.org/orchard", options)
        client.logIn()
        server.settle()
        return client
    }

    @Test func `a certificate lets in the account that it names, if there is one`() async throws {
        let server = try await TestServer([])
        #expect(certified(["romeo@example.org"], on: server).address?.description == "romeo@example.org/orchard")
        let nobody = certified(["tybalt@example.org"], on: server)
        #expect(nobody.errors.first?.first("not-authorized", .sasl) != nil)
        let stranger = certified(["romeo@example.net"], on: server)
        #expect(stranger.errors.first?.first("invalid-mechanism", .sasl) != nil)
        #expect(
            certified(["romeo@example.org", "juliet@example.org"], on: server).errors.first?
                .first("invalid-authzid", .sasl) != nil)
        await server.stop()
    }
}
