import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// RFC 6121 §4.5.2: however a session ends, those who saw it see it go, once, and so do those whom it told directly
/// (§4.6.3).
@Suite struct EndingTests {
    enum Way: CaseIterable, Sendable {
        case saysGoodbye, losesTheConnection, isNotResumedInTime, isKicked, losesTheResource, hasAnotherPassword
        case losesTheAccount, doesNotRead, breaksTheRules
    }

    @Test(arguments: Way.allCases) func `whoever saw a session sees it go`(_ way: Way) async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        let mercutio = try server.login("mercutio@example.org/square")
        let romeo = try server.login("romeo@example.org/orchard", management: way == .isNotResumedInTime)
        server.befriend(romeo, juliet)
        romeo.send("<presence to='mercutio@example.org/square'/>")
        server.settle()
        for client in [juliet, mercutio] { client.inbox = [] }
        try await end(romeo, way, server)
        server.settle()
        for client in [juliet, mercutio] {
            let gone = client.inbox.filter {
                $0.name == "presence" && $0[attribute: "from"] == "romeo@example.org/orchard"
                    && $0[attribute: "type"] == "unavailable"
            }
            #expect(gone.count == 1, "\(client.account) after \(way)")
        }
        await server.stop()
    }

    private func end(_ romeo: TestClient, _ way: Way, _ server: TestServer) async throws {
        let address = "romeo@example.org"
        let kernel = server.server
        switch way {
        case .saysGoodbye: romeo.end()
        case .losesTheConnection: romeo.cut()
        case .isNotResumedInTime:
            romeo.cut()
            server.advance(by: .minutes(11))
        case .isKicked:
            let input = CommandInput(arguments: ["address": address])
            let output = await server.pump { try? await kernel.run("kick", input) }
            #expect(output == .done("1 session of romeo@example.org ended"))
        case .losesTheResource: _ = try server.login("\(address)/orchard", priority: nil)
        case .hasAnotherPassword:
            let account = try #require(BareJID(address))
            _ = await server.pump { try? await kernel.setPassword("another one", of: account) }
        case .losesTheAccount: await server.removeAccount(address)
        case .doesNotRead:
            romeo.isReading = false
            let mercutio = try server.login("mercutio@example.org/loud")
            for index in 0..<30 {
                mercutio.send(message(to: "\(address)/orchard", String(repeating: "x", count: 60_000), id: "\(index)"))
                server.settle()
            }
        case .breaksTheRules: romeo.sendRaw("<nonsense xmlns='urn:nonsense'/>")
        }
    }

    /// RFC 6120 §4.4: the request was sent before the stream was closed.
    @Test func `a client that closes its stream still gets its answers`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        juliet.send("<iq type='get' id='v'><vCard xmlns='vcard-temp'/></iq>")
        juliet.end()
        server.settle()
        #expect(juliet.inbox.compactMap { $0[attribute: "id"] } == ["r", "v"])
        #expect(server.server.shardCounts.allSatisfy { $0.sessions == 0 })
        await server.stop()
    }

    @Test func `a session that its client has closed is not resumed`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let id = try #require(romeo.resumeID)
        server.storage.set(.stalled)
        romeo.send("<iq type='set' id='v'><vCard xmlns='vcard-temp'><FN>R</FN></vCard></iq>")
        romeo.end()
        server.settle()
        var options = TestClient.Options()
        options.staysUnbound = true
        let other = server.client("romeo@example.org/orchard", options)
        other.logIn()
        server.settle()
        other.sendRaw("<resume xmlns='urn:xmpp:sm:3' previd='\(id)' h='0'/>")
        server.settle()
        #expect(other.errors.last?.first("item-not-found", .stanzaErrors) != nil, "\(other.errors)")
        server.storage.set(.none)
        server.settle()
        #expect(server.counts.sessions == 0)
        await server.stop()
    }

    @Test func `messages that a dead session leaves to a failing disk do not shut out another session`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let dead = try server.login("juliet@example.org/balcony", priority: 5, management: true)
        let alive = try server.login("juliet@example.org/chamber")
        dead.answersRequests = false
        for number in 0..<3 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        server.storage.set(.failing)
        dead.end()
        server.settle()
        romeo.send(message(to: "juliet@example.org", "hello"))
        server.settle()
        #expect(alive.takeBodies().contains("hello"))
        await server.stop()
    }
}
