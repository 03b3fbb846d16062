import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

@testable import Reports

/// XEP-0377: reports that come with a block.
@Suite struct ReportsTests {
    private func report(
        _ client: TestClient, _ server: TestServer, _ address: String, _ report: String
    ) throws {
        try client.ask(
            server, "set", "<block xmlns='urn:xmpp:blocking'><item jid='\(address)'>\(report)</item></block>")
    }

    private static func spam(_ content: String = "") -> String {
        "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'>\(content)</report>"
    }

    private func run(
        _ server: TestServer, _ command: String, _ number: String? = nil
    ) async -> Result<CommandOutput, CommandError> {
        let running = server.server
        return await server.pump {
            do throws(CommandError) {
                return .success(
                    try await running.run(command, CommandInput(arguments: number.map { ["number": $0] } ?? [:])))
            } catch {
                return .failure(error)
            }
        }
    }

    private func rows(_ server: TestServer) async throws -> [[String]] {
        guard case .table(_, let rows) = try await run(server, "reports list").get() else { throw Refusal("no table") }
        return rows
    }

    @Test func `a report is kept with what it says, over a restart, until it is closed`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        let features = try juliet.ask(
            server, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: "example.org")
        #expect(features?.elements.contains { $0[attribute: "var"] == "urn:xmpp:reporting:1" } == true)
        let ids = """
            <stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/>\
            <stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net/x' id='2'/>\
            <stanza-id xmlns='urn:xmpp:sid:0' by='other@example.net' id='forged'/>\
            <stanza-id xmlns='urn:xmpp:sid:0' by='@' id='forged'/><stanza-id xmlns='urn:xmpp:sid:0' by='a@b'/>
            """
        try report(
            juliet, server, "romeo@example.net",
            Self.spam("\(ids)<text xml:lang='en'>Never came trouble\n like this</text><third-party/>"))
        #expect(try juliet.blocklist(server) == ["romeo@example.net"])
        let row = try #require(try await rows(server).first)
        #expect(row[0] == "1")
        #expect(Array(row[2...]) == ["juliet@example.org", "romeo@example.net", "spam", "Never came trouble"])
        let next = try await TestServer(standardModules, memory: server.crash())
        guard case .text(let text) = try await run(next, "reports show", "1").get() else { throw Refusal("no text") }
        #expect(text.contains("1 by juliet@example.org") && text.contains("2 by romeo@example.net/x"))
        #expect(!text.contains("forged"))
        #expect(text.contains("to others: yes") && text.contains("to the reported domain: no"))
        #expect(text.hasSuffix("Never came trouble\n like this"))
        #expect(try await run(next, "reports close", "1").get() == .done("report 1 was closed"))
        #expect(try await rows(next).isEmpty)
        for command in ["reports show", "reports close"] {
            #expect(await run(next, command, "1").failure == .notFound("there is no report 1"))
            #expect(await run(next, command, "x").failure?.exitCode == 64)
        }
        // Its number is not given again.
        let again = try next.login("juliet@example.org/balcony")
        try report(again, next, "romeo@example.net", Self.spam())
        let last = try await TestServer(standardModules, memory: next.crash())
        #expect(try await rows(last).map { $0[0] } == ["2"])
        await last.stop()
    }

    @Test func `what is no report blocks all the same`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        for (number, wrong) in [
            "<report xmlns='urn:xmpp:reporting:1'/>", "<report xmlns='urn:xmpp:reporting:1' reason=''/>",
            "<report xmlns='urn:xmpp:reporting:0' reason='x'/>", "<other/>",
            "<report xmlns='urn:xmpp:reporting:1' reason='\(String(repeating: "x", count: 256))'/>",
        ].enumerated() {
            try report(juliet, server, "\(number)@example.net", wrong)
        }
        #expect(try juliet.blocklist(server).count == 5)
        #expect(try await rows(server).isEmpty)
        await server.stop()
    }

    @Test func `one account cannot fill the queue, and a full queue takes nobody's right to block`() async throws {
        let server = try await TestServer(
            standardModules, config: ["reports": options(["limit": "3", "per_account": "2", "text": "256"])])
        let juliet = try server.login("juliet@example.org/balcony")
        let mercutio = try server.login("mercutio@example.org/square")
        let long = Self.spam("<text>\(String(repeating: "ü", count: 4000))</text>")
        for number in 0..<4 { try report(juliet, server, "\(number)@example.net", long) }
        for number in 0..<4 { try report(mercutio, server, "\(number)@example.net", Self.spam()) }
        #expect(try juliet.blocklist(server).count == 4)
        #expect(
            try await rows(server).map { $0[2] } == [
                "juliet@example.org", "juliet@example.org", "mercutio@example.org",
            ])
        guard case .text(let text) = try await run(server, "reports show", "1").get() else { throw Refusal("no text") }
        #expect(text.hasSuffix("ü") && text.utf8.count < 600)
        #expect(await server.status("reports_received") == 3)
        #expect(await server.status("reports_dropped") == 5)
        _ = await run(server, "reports close", "2")
        try report(juliet, server, "9@example.net", Self.spam())
        #expect(try await rows(server).count == 3)
        await server.stop()
    }

    @Test func `a report and its block are kept together or not at all`() async throws {
        let server = try await TestServer(standardModules)
        let juliet = try server.login("juliet@example.org/balcony")
        server.storage.set(.failing)
        #expect(throws: Refusal.self) { try report(juliet, server, "romeo@example.net", Self.spam()) }
        server.storage.set(.none)
        #expect(try juliet.blocklist(server) == [])
        #expect(try await rows(server).isEmpty)
        // Reported again, though it is blocked already.
        try juliet.block(server, "romeo@example.net")
        try report(juliet, server, "romeo@example.net", Self.spam())
        #expect(try await rows(server).count == 1)
        await server.stop()
    }
}

extension Result {
    fileprivate var failure: Failure? { if case .failure(let error) = self { error } else { nil } }
}
