import Messages
import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

private func options(_ pairs: KeyValuePairs<String, String>) -> ConfigNode {
    ConfigNode(.map(pairs.map { ConfigEntry($0, ConfigNode(.scalar($1, quoted: false))) }))
}

/// The rare points: authenticated, inline, accountCreated, accountRemoved.
@Suite struct MomentTests {
    @Test func `a module sees who authenticated, from where and how, on the account's home loop`() async throws {
        let server = try await TestServer([DoorModule.self], loops: 4)
        for name in ["romeo", "juliet", "mercutio"] { _ = try server.login("\(name)@example.org/x") }
        #expect(await server.status("door_known") == 3)
        #expect(await server.status("door_home") == 3)
        #expect(await server.status("logins") == 3)
        await server.stop()
    }

    @Test func `a client that resumes has authenticated too`() async throws {
        let server = try await TestServer([DoorModule.self])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.cut()
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready)
        #expect(await server.status("sessions_resumed") == 1)
        #expect(await server.status("door_known") == 2)
        await server.stop()
    }

    @Test(arguments: TestClient.FramingKind.allCases)
    func `whom a module refuses fails to authenticate, and hears why`(_ framing: TestClient.FramingKind) async throws {
        let server = try await TestServer(
            [DoorModule.self, SecondDoorModule.self], config: ["door": options(["says": "disabled"])])
        var options = TestClient.Options()
        options.framing = framing
        for mechanism in [TestClient.Mechanism.scramSHA256, .plain] {
            options.mechanism = mechanism
            let romeo = server.client("romeo@example.org/orchard", options)
            romeo.logIn()
            server.settle()
            #expect(romeo.phase == .negotiating)
            let failure = try #require(romeo.errors.first)
            #expect(failure.isNamed("failure", .sasl))
            #expect(failure.first("account-disabled", .sasl) != nil)
            #expect(failure.first("text", .sasl)?.text == "Ask the abbess.")
        }
        #expect(await server.status("logins") == 0)
        #expect(await server.status("logins_rejected") == 2)
        #expect(await server.status("second-door_asked") == 0)
        await server.stop()
    }

    @Test func `whom a module refuses may try again, until that is too often`() async throws {
        let server = try await TestServer([DoorModule.self], config: ["door": options(["says": "disabled"])]) {
            $0.limits.unauthenticated.attempts = 2
        }
        var options = TestClient.Options()
        options.mechanism = .plain
        let romeo = server.client("romeo@example.org/orchard", options)
        romeo.logIn()
        server.settle()
        try await server.reload([ModuleConfig(name: "door")])
        romeo.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHNlY3JldA==</auth>")
        server.settle()
        #expect(romeo.phase == .ready)
        await server.stop()
        let strict = try await TestServer(
            [DoorModule.self], config: ["door": XMPPServerTests.options(["says": "disabled"])]
        ) {
            $0.limits.unauthenticated.attempts = 1
        }
        let last = strict.client("romeo@example.org/orchard", options)
        last.logIn()
        strict.settle()
        #expect(last.errors.map(\.name) == ["failure", "error"])
        #expect(last.phase == .offline)
        await strict.stop()
    }

    @Test func `a module may end the stream instead`() async throws {
        let server = try await TestServer([DoorModule.self], config: ["door": options(["says": "close"])])
        let romeo = server.client("romeo@example.org/orchard")
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .offline)
        #expect(romeo.errors.first?.elements.first?.name == "policy-violation")
        #expect(await server.status("connections_without_session") == 0)
        await server.stop()
    }

    @Test func `the pipeline names every point, and who has a say there`() async throws {
        let server = try await TestServer(
            [MessagesModule.self, DoorModule.self, InlineModule.self, SilenceModule.self, CensusModule.self])
        let kernel = server.server
        let output = await server.pump {
            try? await kernel.run("modules", CommandInput(arguments: ["pipeline": "true"]))
        }
        guard case .text(let text) = output else {
            Issue.record("no text")
            return
        }
        let lines = text.split(separator: "\n").map(String.init)
        for point in ["received", "arriving", "sending", "undeliverable"] {
            #expect(lines.contains { $0.hasPrefix("  \(point):") })
        }
        for line in [
            "  authenticated: door", "  inline: inline", "  bound: door, inline", "  available: nobody",
            "  idle: silence after 60.0 seconds", "  closed: nobody", "  accountCreated: census",
            "  accountRemoved: census",
        ] {
            #expect(lines.contains(line), "\(text)")
        }
        await server.stop()
    }

    // MARK: Inline

    @Test func `binding by RFC 6120 asks for nothing, and a module may add to the answer all the same`() async throws {
        let server = try await TestServer([InlineModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        let bind = try #require(romeo.bindAnswer?.first("bind", .bind))
        #expect(bind.elements.map(\.name) == ["jid", "welcome"])
        #expect(romeo.bindAnswer?[attribute: "id"] == "bind")
        #expect(await server.status("inline_empty") == 1)
        // What is sent when the session is bound comes behind the answer.
        try romeo.expect("<iq type='set'><hello xmlns='urn:example:inline'/></iq>")
        await server.stop()
    }

    @Test func `a module that answers only what was asked for leaves the answer of RFC 6120 as it is`() async throws {
        let server = try await TestServer([InlineModule.self], config: ["inline": options(["does": "nothing"])])
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.bindAnswer?.first("bind", .bind)?.elements.map(\.name) == ["jid"])
        await server.stop()
    }

    @Test func `a session that a module ends while it is made was never there`() async throws {
        let server = try await TestServer([InlineModule.self], config: ["inline": options(["does": "close"])])
        let romeo = server.client("romeo@example.org/orchard")
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .offline)
        #expect(romeo.bindAnswer == nil)
        #expect(server.counts.sessions == 0)
        await server.stop()
    }

    // MARK: Accounts

    @Test func `a module hears of an account that was made, complete, and of one that was removed`() async throws {
        let server = try await TestServer([MessagesModule.self, CensusModule.self], accounts: ["romeo"])
        #expect(await server.status("census_born") == 1)
        let romeo = try server.login("romeo@example.org/orchard")
        // That nobody is there was looked up, and is not believed afterwards.
        romeo.send("<message to='benvolio@example.org' type='chat'><body>Here?</body></message>")
        server.settle()
        server.addAccount("benvolio@example.org")
        server.settle()
        #expect(await server.status("census_born") == 2)
        await server.removeAccount("romeo@example.org")
        #expect(romeo.errors.last?.elements.first?.name == "not-authorized")
        #expect(await server.status("census_dead") == 1)
        await server.removeAccount("nobody@example.org")
        #expect(await server.status("census_dead") == 1)
        #expect(server.counts.sessions == 0)
        await server.stop()
    }

    @Test(arguments: 0..<20 as Range<UInt64>)
    func `whatever happens at the same time, each account is announced once`(_ seed: UInt64) async throws {
        let server = try await TestServer([MessagesModule.self, CensusModule.self], accounts: ["romeo"], seed: seed)
        let romeo = try server.login("romeo@example.org/orchard")
        for name in ["a", "b", "c"] {
            romeo.send("<message to='\(name)@example.org' type='chat'><body>Here?</body></message>")
            server.addAccount("\(name)@example.org")
        }
        server.settle()
        #expect(await server.status("census_born") == 4)
        await server.stop()
    }
}
