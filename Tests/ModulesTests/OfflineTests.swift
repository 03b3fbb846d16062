import ModuleKit
import ModuleTesting
import Offline
import Testing

@Suite struct OfflineTests {
    @Test func `a message to an absent account arrives at login, stamped with its delay`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let stamp = server.simulation.clock.wallClock
        romeo.send(message(to: "juliet@example.org", "Hi"))
        server.advance(by: .seconds(3600))
        let juliet = try server.login("juliet@example.org/balcony")
        try juliet.expect(
            """
            <message from='romeo@example.org/orchard' type='chat'><body>Hi</body><delay xmlns='urn:xmpp:delay'
            from='example.org' stamp='\(stamp)'/></message>
            """)
        await server.stop()
    }

    @Test func `messages come in their order, once, and before what arrives meanwhile`() async throws {
        let server = try await TestServer(standardModules, config: ["offline": options(["limit": "1000"])])
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 0..<330 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        let juliet = server.client("juliet@example.org/balcony")
        juliet.logIn()
        for number in 330..<400 {
            romeo.send(message(to: "juliet@example.org", "\(number)"))
            for _ in 0..<40 { _ = server.simulation.step(&server.generator) }
        }
        server.settle()
        #expect(juliet.takeBodies() == (0..<400).map(String.init))
        let again = try server.login("juliet@example.org/chamber")
        #expect(again.takeBodies().isEmpty)
        await server.stop()
    }

    @Test func `the message over the limit is bounced with service-unavailable`() async throws {
        let server = try await TestServer(standardModules, config: ["offline": options(["limit": "2"])])
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 1...3 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        try romeo.expect(
            """
            <message type='error' from='juliet@example.org'><error type='cancel'><service-unavailable
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
            """)
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["1", "2"])
        await server.stop()
    }

    @Test func `an old message is dropped instead of delivered`() async throws {
        let server = try await TestServer(standardModules, config: ["offline": options(["expiry": "1h"])])
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "old"))
        server.advance(by: .seconds(3000))
        romeo.send(message(to: "juliet@example.org", "new"))
        server.advance(by: .seconds(1000))
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["new"])
        await server.stop()
    }

    @Test(arguments: [
        "<message to='juliet@example.org' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message to='juliet@example.org' type='headline'><body>news</body></message>",
        "<message to='juliet@example.org' type='error'><body>no</body></message>",
    ])
    func `what does not deserve it is not kept, and nobody is told`(_ stanza: String) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(stanza)
        server.settle()
        try romeo.expectNo()
        let juliet = try server.login("juliet@example.org/balcony")
        try juliet.expectNo()
        await server.stop()
    }

    @Test func `a drain leases its rows: what the client did not acknowledge comes again`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 1...3 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        let juliet = server.client("juliet@example.org/balcony", managed())
        juliet.answersRequests = false
        juliet.logIn()
        server.settle()
        #expect(juliet.takeBodies() == ["1", "2", "3"])
        // It has seen three and says so of one of them: the echo of its presence and the first message.
        juliet.send("<a xmlns='urn:xmpp:sm:3' h='2'/>")
        server.settle()
        juliet.cut()
        server.advance(by: .seconds(700))
        let again = try server.login("juliet@example.org/chamber")
        #expect(again.takeBodies() == ["2", "3"])
        await server.stop()
    }

    @Test func `two sessions that become available do not both get what waited`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 1...120 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        let one = server.client("juliet@example.org/one")
        let two = server.client("juliet@example.org/two")
        one.logIn()
        two.logIn()
        server.settle()
        #expect((one.takeBodies() + two.takeBodies()).sorted() == (1...120).map(String.init).sorted())
        await server.stop()
    }

    @Test func `a failing commit answers resource-constraint, and the sender may try again`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        server.storage.set(.failing)
        romeo.send(message(to: "juliet@example.org", "Hi"))
        server.settle()
        try romeo.expect(
            """
            <message type='error' from='juliet@example.org'><error type='wait'><resource-constraint
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
            """)
        server.storage.set(.none)
        romeo.send(message(to: "juliet@example.org", "Hi again"))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["Hi again"])
        await server.stop()
    }

    @Test func `a stanza is acknowledged when its row is on disk, not before`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.requestAcknowledgement()
        server.settle()
        let before = romeo.acknowledged
        server.storage.set(.stalled)
        romeo.send(message(to: "juliet@example.org", "Hi"))
        romeo.requestAcknowledgement()
        server.settle()
        #expect(romeo.acknowledged == before)
        server.storage.set(.none)
        server.settle()
        #expect(romeo.acknowledged == before + 1)
        await server.stop()
    }

    @Test func `a message that was acknowledged survives the process`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.send(message(to: "juliet@example.org", "Hi"))
        romeo.requestAcknowledgement()
        server.settle()
        #expect(romeo.unacknowledged.isEmpty)
        let next = try await TestServer(standardModules, memory: server.crash())
        let juliet = try next.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["Hi"])
        await next.stop()
    }

    private func managed() -> TestClient.Options {
        var options = TestClient.Options()
        options.management = true
        return options
    }
}
