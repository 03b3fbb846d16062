import ModuleKit
import ModuleTesting
import Presence
import Roster
import Testing

/// Answers at the account and at the host, whoever each request is for.
struct AskedModule: Module {
    static let info = ModuleInfo("asked")
    static let askers: [(name: String, asker: IQRoute.Asker)] = [
        ("own", .ownAccount), ("contacts", .contacts), ("anyone", .anyone), ("admin", .admin),
    ]

    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        for (name, asker) in Self.askers {
            host.iq(.get, Namespace("urn:test:asked:\(name)"), "ask", at: [.account, .host], from: asker) { _ in nil }
        }
    }
}

/// Who may ask is decided by the kernel, before a handler is called.
@Suite struct AskerTests {
    private static let modules: [any Module.Type] = [RosterModule.self, PresenceModule.self, AskedModule.self]

    /// What each kind of request is answered with: `result`, or the condition of the error.
    private func answers(_ client: TestClient, at address: String, _ server: TestServer) throws -> [String] {
        try AskedModule.askers.map { name, _ in
            client.inbox = []
            client.send("<iq type='get' id='a' to='\(address)'><ask xmlns='urn:test:asked:\(name)'/></iq>")
            server.settle()
            let answer = try #require(client.inbox.first { $0[attribute: "id"] == "a" })
            return answer.first("error", .client)?.elements.first?.name ?? answer[attribute: "type"] ?? ""
        }
    }

    @Test func `an account may ask itself everything but what is for administrators`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(
            try answers(romeo, at: "romeo@example.org", server) == [
                "result", "result", "result", "service-unavailable",
            ]
        )
        await server.stop()
    }

    @Test func `a stranger may ask what anyone may, and learns nothing from the refusals`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        let unavailable = "service-unavailable"
        #expect(
            try answers(romeo, at: "juliet@example.org", server) == [unavailable, unavailable, "result", unavailable])
        #expect(
            try answers(romeo, at: "nobody@example.org", server)
                == [unavailable, unavailable, unavailable, unavailable])
        await server.stop()
    }

    @Test func `a contact is who sees the account's presence, not whose presence it sees`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send("<presence to='romeo@example.org' type='subscribe'/>")
        server.settle()
        romeo.send("<presence to='juliet@example.org' type='subscribed'/>")
        server.settle()
        let unavailable = "service-unavailable"
        #expect(
            try answers(juliet, at: "romeo@example.org", server) == [unavailable, "result", "result", unavailable])
        #expect(
            try answers(romeo, at: "juliet@example.org", server) == [unavailable, unavailable, "result", unavailable])
        romeo.send("<presence to='juliet@example.org' type='unsubscribed'/>")
        server.settle()
        #expect(
            try answers(juliet, at: "romeo@example.org", server)
                == [unavailable, unavailable, "result", unavailable])
        await server.stop()
    }

    @Test func `a host answers its own accounts, and has no contacts`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(try answers(romeo, at: "example.org", server) == ["result", "forbidden", "result", "forbidden"])
        await server.stop()
    }

    @Test func `without a module that knows contacts an account has none but itself`() async throws {
        let server = try await TestServer([AskedModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(try answers(romeo, at: "romeo@example.org", server)[1] == "result")
        #expect(try answers(romeo, at: "juliet@example.org", server)[1] == "service-unavailable")
        await server.stop()
    }
}
