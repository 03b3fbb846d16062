import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// Accounts that last as long as their session (RFC 4505, XEP-0175), among all modules.
@Suite struct AnonymousTests {
    private func server(
        _ mechanisms: [AuthConfig.Mechanism] = AuthConfig.usual + [.anonymous], seed: UInt64 = 1
    ) async throws -> TestServer {
        try await TestServer(standardModules, seed: seed) { config in
            for index in config.hosts.indices { config.hosts[index].auth.mechanisms = mechanisms }
        }
    }

    private func client(_ server: TestServer, management: Bool = false) -> TestClient {
        var options = TestClient.Options()
        options.mechanism = .anonymous
        options.management = management
        return server.client("anybody@example.org/home", options)
    }

    private func login(_ server: TestServer, management: Bool = false) throws -> TestClient {
        let client = client(server, management: management)
        client.logIn()
        server.settle()
        try #require(client.phase == .ready, "\(client.errors)")
        return client
    }

    @Test func `anybody gets a name, talks, and is gone at the end`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        let before = server.counts
        let stranger = try login(server)
        let address = try #require(stranger.address)
        #expect(address.local != "anybody")
        #expect(address.resource == "home")
        romeo.send("<message to='\(address)' type='chat'><body>Who are you?</body></message>")
        stranger.send("<message to='romeo@example.org/orchard' type='chat'><body>Nobody</body></message>")
        server.settle()
        try stranger.expect("<message from='romeo@example.org/orchard' type='chat'><body>Who are you?</body></message>")
        try romeo.expect("<message from='\(address)' type='chat'><body>Nobody</body></message>")

        stranger.end()
        server.settle()
        #expect(server.counts == before)
        romeo.send("<message to='\(address.bare)' type='chat' id='late'><body>Are you there?</body></message>")
        server.settle()
        #expect(romeo.inbox.contains { $0[attribute: "type"] == "error" && $0[attribute: "id"] == "late" })
        let memory = server.memory
        let stored = await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in try snapshot.accountCount(host: "example.org")
            }
        }
        #expect(stored == 3)
        await server.stop()
    }

    @Test func `each has a name of its own`() async throws {
        let server = try await server()
        let names = try Set((0..<10).map { _ in try #require(try login(server).address).bare })
        #expect(names.count == 10)
        await server.stop()
    }

    @Test func `nobody gets in where it is not switched on`() async throws {
        let server = try await server(AuthConfig.usual)
        let stranger = client(server)
        stranger.logIn()
        server.settle()
        #expect(stranger.errors.first?.first("invalid-mechanism", .sasl) != nil)
        #expect(await server.status("logins_not_offered") == 1)
        await server.stop()
    }

    @Test func `who never binds leaves no name behind`() async throws {
        let server = try await server()
        let before = server.counts
        let stranger = client(server)
        stranger.logIn()
        // As far as the name, not as far as the session.
        for _ in 0..<200 where stranger.phase != .ready {
            guard server.counts.accounts == before.accounts else { break }
            _ = server.simulation.step(&server.generator)
        }
        #expect(server.counts.accounts == before.accounts + 1)
        stranger.cut()
        server.settle()
        #expect(server.counts == before)
        await server.stop()
    }

    @Test func `what would have to be stored is refused, and nobody else is the worse for it`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        let stranger = try login(server)
        let address = try #require(stranger.address)
        for payload in [
            "<query xmlns='jabber:iq:roster'><item jid='romeo@example.org'/></query>",
            "<query xmlns='jabber:iq:private'><a xmlns='urn:x'>1</a></query>",
            "<vCard xmlns='vcard-temp'><FN>Nobody</FN></vCard>",
        ] {
            #expect(stranger.refusal(server, "set", payload) == "not-allowed", "\(payload)")
        }
        // Neither end of a subscription can be kept.
        stranger.send("<presence to='romeo@example.org' type='subscribe' id='ask'/>")
        server.settle()
        #expect(!romeo.inbox.contains { $0[attribute: "type"] == "subscribe" })
        romeo.send("<presence to='\(address.bare)' type='subscribe'/>")
        server.settle()
        #expect(!stranger.inbox.contains { $0[attribute: "type"] == "subscribe" })
        #expect(stranger.phase == .ready)
        stranger.end()
        server.settle()
        #expect(server.counts.sessions == 1)
        await server.stop()
    }

    @Test func `of what would be stored there is none, as clients ask for it after every login`() async throws {
        let server = try await server()
        let stranger = try login(server)
        #expect(try stranger.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")?.elements.isEmpty == true)
        let bookmarks = "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"
        let kept = try stranger.ask(server, "get", bookmarks)
        #expect(kept?.elements == [Element("storage", Namespace("storage:bookmarks"))])
        #expect(stranger.refusal(server, "get", "<vCard xmlns='vcard-temp'/>") == "item-not-found")
        let other = try server.login("romeo@example.org/orchard")
        let address = try #require(stranger.address).bare.description
        #expect(other.refusal(server, "get", "<vCard xmlns='vcard-temp'/>", to: address) == "service-unavailable")
        await server.stop()
    }

    @Test func `disco says that the account is anonymous`() async throws {
        let server = try await server()
        let stranger = try login(server)
        let address = try #require(stranger.address).bare
        stranger.send(
            "<iq type='get' id='d' to='\(address)'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
        server.settle()
        let answer = stranger.inbox.first { $0[attribute: "id"] == "d" }
        let identities = answer?.elements.first?.elements.filter { $0.name == "identity" }
        #expect(identities?.map { $0[attribute: "type"] } == ["anonymous"])
        await server.stop()
    }

    @Test func `a name that becomes an account ends the session that had it`() async throws {
        let server = try await server()
        let stranger = try login(server)
        let address = try #require(stranger.address).bare
        server.addAccount(address.description)
        server.settle()
        #expect(stranger.phase == .offline)
        #expect(server.counts.sessions == 0)
        let owner = try server.login("\(address)/home")
        #expect(owner.address?.bare == address)
        await server.stop()
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `a session is resumed by whoever knows its id, on whatever loop it lives`(_ seed: UInt64) async throws {
        let server = try await server(seed: seed)
        let romeo = try server.login("romeo@example.org/orchard")
        for _ in 0..<10 {
            let before = server.counts
            let stranger = try login(server, management: true)
            let address = try #require(stranger.address)
            stranger.cut()
            server.settle()
            romeo.send("<message to='\(address)' type='chat'><body>Still there?</body></message>")
            server.settle()
            stranger.logIn()
            server.settle()
            #expect(stranger.phase == .ready)
            #expect(stranger.errors == [])
            try stranger.expect(
                """
                <message from='romeo@example.org/orchard' type='chat'><body>Still there?</body><delay
                xmlns='urn:xmpp:delay' from='example.org' stamp='*'/></message>
                """)
            romeo.send("<message to='\(address)' type='chat'><body>Back?</body></message>")
            server.settle()
            try stranger.expect("<message from='romeo@example.org/orchard' type='chat'><body>Back?</body></message>")
            stranger.end()
            server.settle()
            #expect(server.counts == before)
        }
        await server.stop()
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `a session that is over is not resumed, and its client goes on under another name`(
        _ seed: UInt64
    ) async throws {
        let server = try await server(seed: seed)
        for _ in 0..<10 {
            let before = server.counts
            let stranger = try login(server, management: true)
            let address = stranger.address
            stranger.cut()
            server.advance(by: .seconds(601))
            #expect(server.counts == before)
            stranger.logIn()
            server.settle()
            #expect(stranger.phase == .ready)
            #expect(stranger.address != address)
            stranger.end()
            server.settle()
            #expect(server.counts == before)
        }
        await server.stop()
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `who is lost on the way to a session leaves no name behind`(_ seed: UInt64) async throws {
        let server = try await server(seed: seed)
        let before = server.counts
        let stranger = try login(server, management: true)
        stranger.cut()
        server.settle()
        // On the way back, at any step of it; then the session ends by itself.
        stranger.logIn()
        for _ in 0..<(seed * 2) { _ = server.simulation.step(&server.generator) }
        stranger.cut()
        server.advance(by: .seconds(700))
        #expect(server.counts == before)
        #expect(await server.status("connections_without_session") == 0)
        await server.stop()
    }

    @Test func `messages to a name without a session that takes them are not kept`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        var options = TestClient.Options()
        options.mechanism = .anonymous
        options.priority = nil
        let stranger = server.client("anybody@example.org/home", options)
        stranger.logIn()
        server.settle()
        let address = try #require(stranger.address)
        romeo.send("<message to='\(address.bare)' type='chat' id='m'><body>Keep this</body></message>")
        server.settle()
        #expect(romeo.inbox.contains { $0[attribute: "type"] == "error" && $0[attribute: "id"] == "m" })
        await server.stop()
    }
}
