import ModuleKit
import ModuleTesting
import Testing

/// BUGS-NEXT C9: what the rules refuse is neither kept, archived, copied nor pushed.
@Suite struct RuleDecisionTests {
    private func archived(_ client: TestClient, _ server: TestServer) throws -> [String] {
        client.inbox = []
        client.send("<iq type='set' id='q'><query xmlns='urn:xmpp:mam:2'/></iq>")
        server.settle()
        defer { client.inbox = [] }
        return client.inbox.compactMap { message in
            message.first("result", "urn:xmpp:mam:2")?.first("forwarded", .forwarded)?.first("message", .client)?
                .first("body", .client)?.text
        }
    }

    @Test func `what is refused reaches neither archive nor copies, on either side (BUGS-NEXT C9)`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let phone = try server.login("romeo@example.org/phone")
        let juliet = try server.login("juliet@example.org/balcony")
        let chamber = try server.login("juliet@example.org/chamber", priority: -1)
        for client in [romeo, phone, juliet, chamber] {
            try client.ask(server, "set", "<enable xmlns='urn:xmpp:carbons:2'/>")
        }
        try juliet.block(server, "romeo@example.org")
        for client in [romeo, phone, juliet, chamber] { client.inbox = [] }
        say(romeo, message(to: "juliet@example.org", "in"), server)
        say(romeo, message(to: "juliet@example.org/chamber", "in"), server)
        say(juliet, message(to: "romeo@example.org", "out"), server)
        for client in [juliet, chamber] { #expect(!client.inbox.contains { $0.first("received", .carbons) != nil }) }
        #expect(chamber.takeBodies() == [])
        #expect(try archived(juliet, server) == [])
        #expect(try archived(romeo, server) == [])
        // Kept for later neither.
        juliet.end()
        chamber.end()
        server.settle()
        say(romeo, message(to: "juliet@example.org", "offline"), server)
        let again = try server.login("juliet@example.org/balcony")
        #expect(again.takeBodies() == [])
        #expect(try archived(again, server) == [])
        await server.stop()
    }

    @Test func `a device whose list refuses the sender gets no copy`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony", priority: 5)
        let shut = try server.login("juliet@example.org/shut")
        let open = try server.login("juliet@example.org/open")
        for client in [juliet, shut, open] { try client.ask(server, "set", "<enable xmlns='urn:xmpp:carbons:2'/>") }
        try shut.setList(
            server, "l", "<item type='jid' value='romeo@example.org' action='deny' order='1'><message/></item>")
        try shut.ask(server, "set", "<query xmlns='jabber:iq:privacy'><active name='l'/></query>")
        for client in [juliet, shut, open] { client.inbox = [] }
        say(romeo, message(to: "juliet@example.org/balcony", "Hi"), server)
        #expect(juliet.takeBodies() == ["Hi"])
        #expect(open.inbox.count == 1 && shut.inbox.isEmpty)
        await server.stop()
    }
}
