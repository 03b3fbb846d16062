import ModuleKit
import ModuleTesting
import Testing

@testable import XMPPServer

/// Between a login and its session the account may change.
@Suite struct ExpiredCredentialTests {
    enum Change: CaseIterable, Sendable { case password, removal, removalAndCreation }
    enum Mechanism: CaseIterable, Sendable { case scram, plain, external }

    private func change(_ change: Change, _ server: TestServer) async throws {
        let (kernel, address) = (server.server, "romeo@example.org")
        let account = try #require(BareJID(address))
        switch change {
        case .password: _ = await server.pump { try? await kernel.setPassword("another one", of: account) }
        case .removal: await server.removeAccount(address)
        case .removalAndCreation:
            await server.removeAccount(address)
            server.addAccount(address)
        }
        server.settle()
    }

    /// A client that has authenticated and goes no further by itself.
    private func halfway(
        _ server: TestServer, _ mechanism: Mechanism = .scram, _ password: String = "secret"
    ) -> TestClient {
        var options = TestClient.Options()
        options.password = password
        options.staysUnbound = true
        switch mechanism {
        case .scram: break
        case .plain: options.mechanism = .plain
        case .external:
            options.mechanism = .external
            options.certificate = ["romeo@example.org"]
        }
        let client = server.client("romeo@example.org/orchard", options)
        client.logIn()
        server.settle()
        return client
    }

    private func bind(_ client: TestClient, _ server: TestServer) {
        client.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        server.settle()
    }

    @Test(arguments: Change.allCases, Mechanism.allCases)
    func `who authenticated before the change is not let in by binding`(
        _ change: Change, _ mechanism: Mechanism
    ) async throws {
        let server = try await TestServer([])
        // With the account in memory, and without.
        for isResident in [false, true] {
            let other = isResident ? try? server.login("romeo@example.org/other") : nil
            let client = halfway(server, mechanism)
            #expect(client.errors == [])
            try await self.change(change, server)
            bind(client, server)
            if change == .removal {
                // RFC 6120 §7.6.2.2.
                let answer = client.errors.last?.first("error", .client)
                #expect(answer?.first("not-allowed", .stanzaErrors) != nil, "\(client.errors)")
            } else {
                #expect(client.phase == .offline)
                #expect(client.errors.last?.first("not-authorized", .streamErrors) != nil, "\(client.errors)")
            }
            #expect(other.map { $0.phase == .offline } ?? true)
            #expect(server.counts.sessions == 0)
            if change == .removal { server.addAccount("romeo@example.org") }
            if change == .password { try await reset(server) }
            server.settle()
        }
        await server.stop()
    }

    /// The password is `secret` again.
    private func reset(_ server: TestServer) async throws {
        let kernel = server.server
        let account = try #require(BareJID("romeo@example.org"))
        _ = await server.pump { try? await kernel.setPassword("secret", of: account) }
        server.settle()
    }

    @Test(arguments: Change.allCases)
    func `who binds before the change is let in, and out by it`(_ change: Change) async throws {
        let server = try await TestServer([])
        let client = halfway(server)
        bind(client, server)
        #expect(client.phase == .ready)
        try await self.change(change, server)
        #expect(client.phase == .offline)
        #expect(client.errors.last?.first("not-authorized", .streamErrors) != nil)
        await server.stop()
    }

    @Test(arguments: Change.allCases)
    func `who authenticated before the change resumes nothing`(_ change: Change) async throws {
        let server = try await TestServer([])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.cut()
        let client = halfway(server)
        try await self.change(change, server)
        client.sendRaw("<resume xmlns='urn:xmpp:sm:3' previd='\(try #require(romeo.resumeID))' h='0'/>")
        server.settle()
        if change == .removal {
            #expect(client.errors.last?.first("item-not-found", .stanzaErrors) != nil, "\(client.errors)")
        } else {
            #expect(client.errors.last?.first("not-authorized", .streamErrors) != nil, "\(client.errors)")
        }
        #expect(server.counts.sessions == 0)
        await server.stop()
    }

    @Test func `the password's own session can be resumed by the new one and not by the old one`() async throws {
        let server = try await TestServer([])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let (kernel, account) = (server.server, try #require(BareJID("romeo@example.org")))
        let old = halfway(server)
        let id = try #require(romeo.resumeID)
        let refs = kernel.shards.flatMap { shard in shard.sessions.values.map(\.ref) }
        let ref = try #require(refs.first)
        kernel.registry.setPassword("another one", of: account, keeping: ref) { _ in }
        server.settle()
        #expect(romeo.phase == .ready)
        romeo.cut()
        server.settle()
        old.sendRaw("<resume xmlns='urn:xmpp:sm:3' previd='\(id)' h='0'/>")
        server.settle()
        #expect(old.errors.last?.first("not-authorized", .streamErrors) != nil)
        #expect(server.counts.sessions == 1)
        romeo.options.password = "another one"
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready)
        #expect(await server.status("sessions_resumed") == 1)
        await server.stop()
    }

    @Test func `who authenticates after the change is let in`() async throws {
        let server = try await TestServer([])
        for change in [Change.password, .removalAndCreation] {
            try await self.change(change, server)
            let client = halfway(server, .scram, change == .password ? "another one" : "secret")
            bind(client, server)
            #expect(client.phase == .ready, "\(client.errors)")
        }
        await server.stop()
    }

    @Test func `passwords that are set at the same time are of different generations`() async throws {
        let server = try await TestServer([])
        let (kernel, account) = (server.server, try #require(BareJID("romeo@example.org")))
        _ = await server.pump {
            await withTaskGroup(of: Void.self) { group in
                for index in 0..<5 {
                    group.addTask { try? await kernel.setPassword("password \(index)", of: account) }
                }
            }
        }
        let memory = server.memory
        let stored = await server.pump {
            try? await memory.read([]) { snapshot throws(StorageError) in
                try snapshot.account(host: "example.org", local: "romeo")?.credentials
            }
        }
        #expect(CredentialList(stored: stored ?? []).generation == 5)
        await server.stop()
    }
}
