import ModuleKit
import ModuleTesting
import Testing

/// The option `first_contact`: strangers wait for an answer.
@Suite struct FirstContactTests {
    private func server(
        _ limit: Int = 2, accounts: [String] = ["romeo", "juliet", "mercutio"]
    ) async throws -> TestServer {
        try await TestServer(
            standardModules, config: ["blocking": options(["first_contact": "\(limit)"])], accounts: accounts)
    }

    @Test func `a stranger may say so much, and goes on when he is answered`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        for number in 0..<4 { say(romeo, message(to: "juliet@example.org", "\(number)"), server) }
        #expect(juliet.takeBodies() == ["0", "1"])
        let answers = romeo.inbox.compactMap { $0.first("error", .client) }
        #expect(answers.count == 2)
        #expect(
            answers.allSatisfy { $0[attribute: "type"] == "wait" && $0.first("policy-violation", .stanzaErrors) != nil }
        )
        // Typing is not answered with anything, and is heard by nobody.
        romeo.inbox = []
        say(
            romeo,
            "<message to='juliet@example.org' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            server)
        #expect(romeo.inbox.isEmpty && juliet.inbox.allSatisfy { $0.name != "message" })
        say(juliet, message(to: "romeo@example.org/orchard", "Yes?"), server)
        for number in 4..<8 { say(romeo, message(to: "juliet@example.org", "\(number)"), server) }
        #expect(juliet.takeBodies() == ["4", "5", "6", "7"])
        await server.stop()
    }

    @Test func `it counts for who is away, and after a restart`() async throws {
        let server = try await server()
        let romeo = try server.login("romeo@example.org/orchard")
        say(romeo, message(to: "juliet@example.org", "0"), server)
        let next = try await TestServer(
            standardModules, config: ["blocking": options(["first_contact": "2"])], memory: server.crash())
        let again = try next.login("romeo@example.org/orchard")
        for number in 1..<4 { say(again, message(to: "juliet@example.org", "\(number)"), next) }
        #expect(again.takeErrors() == ["policy-violation", "policy-violation"])
        let juliet = try next.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["0", "1"])
        // Who was written to stays known.
        say(juliet, "<presence to='romeo@example.org'/>", next)
        let last = try await TestServer(
            standardModules, config: ["blocking": options(["first_contact": "2"])], memory: next.crash())
        let sender = try last.login("romeo@example.org/orchard")
        for number in 0..<4 { say(sender, message(to: "juliet@example.org", "\(number)"), last) }
        #expect(sender.takeErrors() == [])
        await last.stop()
    }

    @Test func `contacts, the account itself, its server and rooms are no strangers`() async throws {
        let server = try await server(1)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send("<presence to='juliet@example.org' type='subscribe'/>")
        server.settle()
        say(juliet, "<presence to='romeo@example.org' type='subscribed'/>", server)
        let mercutio = try server.login("mercutio@example.org/square")
        for client in [romeo, juliet, mercutio] { client.inbox = [] }
        for number in 0..<3 {
            say(romeo, message(to: "juliet@example.org", "\(number)"), server)
            say(juliet, message(to: "juliet@example.org/balcony", "\(number)"), server)
            say(mercutio, message(to: "juliet@example.org/balcony", "\(number)", type: "groupchat"), server)
        }
        #expect(juliet.takeBodies().count == 9)
        #expect(romeo.takeErrors() == [] && mercutio.takeErrors() == [])
        await server.stop()
    }

    @Test func `hundreds of strangers do not make the account forget whom it knows`() async throws {
        let server = try await server(1, accounts: ["juliet", "romeo", "crowd"])
        let juliet = try server.login("juliet@example.org/balcony")
        say(juliet, message(to: "romeo@example.org", "Hi"), server)

        let addresses = (0..<600).map { "stranger\($0)@example.org" }
        for address in addresses { server.addAccount(address) }
        for address in addresses {
            let stranger = try server.login(address, priority: nil)
            say(stranger, message(to: "juliet@example.org", "x"), server)
            stranger.end()
            server.settle()
        }
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.inbox = []
        for number in 0..<3 { say(romeo, message(to: "juliet@example.org", "\(number)"), server) }
        #expect(romeo.takeErrors() == [])
        await server.stop()
    }
}
