import ModuleKit
import ModuleTesting
import Testing

@Suite struct LoginTests {
    @Test(arguments: [TestClient.Mechanism.scramSHA256, .scramSHA1, .plain], TestClient.FramingKind.allCases)
    func `a client logs in by every mechanism over both framings`(
        _ mechanism: TestClient.Mechanism, _ framing: TestClient.FramingKind
    ) async throws {
        let server = try await TestServer(standardModules)
        var options = TestClient.Options()
        options.mechanism = mechanism
        options.framing = framing
        options.management = true
        let romeo = server.client("romeo@example.org/orchard", options)
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready, "\(romeo.errors)")
        #expect(romeo.address?.description == "romeo@example.org/orchard")
        await server.stop()
    }

    @Test func `STARTTLS comes before everything else where it is required`() async throws {
        let server = try await TestServer(standardModules)
        var options = TestClient.Options()
        options.startsTLS = true
        let romeo = server.client("romeo@example.org/orchard", options)
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready, "\(romeo.errors)")
        await server.stop()
    }

    @Test func `a wrong password and an unknown user look the same`() async throws {
        let server = try await TestServer(standardModules)
        var options = TestClient.Options()
        options.password = "wrong"
        for address in ["romeo@example.org/a", "nobody@example.org/a"] {
            let client = server.client(address, options)
            client.logIn()
            server.settle()
            #expect(client.phase == .negotiating)
            #expect(client.errors.map(\.name) == ["failure"])
            #expect(client.errors.first?.elements.map(\.name) == ["not-authorized"])
        }
        await server.stop()
    }

    @Test func `the newer session has the resource`() async throws {
        let server = try await TestServer(standardModules)
        let old = try server.login("romeo@example.org/orchard")
        let new = try server.login("romeo@example.org/orchard")
        #expect(old.phase == .offline)
        #expect(old.errors.first?.elements.first?.name == "conflict")
        #expect(new.phase == .ready)
        await server.stop()
    }
}
