import Messages
import ModuleKit
import ModuleTesting
import Offline
import Ping
import Presence
import Roster
import Testing
import XMPPServer

/// What is acknowledged to a sender depends on the disk or on a bounded time, never on a peer's good will.
@Suite struct AcknowledgementTests {
    static let modules: [any Module.Type] = [
        RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, PingModule.self,
    ]
    private static let typing = """
        <message to='juliet@example.org/balcony' type='chat'><composing
        xmlns='http://jabber.org/protocol/chatstates'/></message>
        """

    private func chat(_ to: String, _ id: String, _ body: String? = nil) -> String {
        "<message to='\(to)' type='chat' id='\(id)'><body>\(body ?? id)</body></message>"
    }

    static func limit(_ messages: Int) -> ConfigNode {
        ConfigNode(.map([ConfigEntry("limit", ConfigNode(.scalar("\(messages)", quoted: false)))]))
    }

    /// A client that takes everything and acknowledges nothing.
    private func silent(_ address: String, _ server: TestServer) throws -> TestClient {
        let client = try server.login(address, management: true)
        client.acknowledge()
        client.answersRequests = false
        server.settle()
        client.inbox = []
        return client
    }

    private func asks(_ client: TestClient, _ server: TestServer) {
        client.requestAcknowledgement()
        server.settle()
    }

    // MARK: Peers

    @Test(arguments: [1000, 10_000])
    func `a peer that does not acknowledge does not freeze the sender`(_ queue: Int) async throws {
        let server = try await TestServer(Self.modules) { $0.streamManagement.queue = queue }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try silent("juliet@example.org/balcony", server)
        for number in 0..<3000 { romeo.send("<iq type='result' to='juliet@example.org/balcony' id='\(number)'/>") }
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        _ = juliet
        await server.stop()
    }

    @Test func `two clients that answer each other and read slowly both go on`() async throws {
        let server = try await TestServer(Self.modules) { $0.streamManagement.queue = 10_000 }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        romeo.isReading = false
        juliet.isReading = false
        for number in 0..<3000 {
            romeo.send("<iq type='result' to='juliet@example.org/balcony' id='\(number)'/>")
            juliet.send("<iq type='result' to='romeo@example.org/orchard' id='\(number)'/>")
        }
        romeo.requestAcknowledgement()
        server.settle()
        romeo.isReading = true
        juliet.isReading = true
        server.settle()
        #expect(romeo.inbox.count { $0.name == "iq" } == 3000)
        #expect(juliet.inbox.count { $0.name == "iq" } == 3000)
        #expect(romeo.unacknowledged.isEmpty)
        await server.stop()
    }

    @Test func `a typing notice to a phone that lost its connection is acknowledged at once`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try silent("juliet@example.org/balcony", server)
        juliet.cut()
        server.settle()
        romeo.send(Self.typing)
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        await server.stop()
    }

    /// No time passes here: an answer that waits for a peer would not come.
    @Test(arguments: [
        "<iq type='result' to='TO' id='1'/>", "<iq type='get' to='TO' id='1'><q xmlns='urn:example'/></iq>",
        "<message to='TO' type='headline'><body>x</body></message>", "<presence to='TO'/>",
        "<message to='TO'><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message to='TO' type='error'><body>x</body></message>",
    ])
    func `the time of the answer does not tell whether somebody is online`(_ stanza: String) async throws {
        for address in ["juliet@example.org/balcony", "juliet@example.org/gone", "mercutio@example.org/x", "no@x/x"] {
            let server = try await TestServer(Self.modules)
            let romeo = try server.login("romeo@example.org/orchard", management: true)
            let juliet = try silent("juliet@example.org/balcony", server)
            let before = await server.status("messages_spilled")
            romeo.send(stanza.split(separator: "TO").joined(separator: address))
            asks(romeo, server)
            #expect(romeo.unacknowledged.isEmpty, "to \(address)")
            #expect(await server.status("messages_spilled") == before)
            _ = juliet
            await server.stop()
        }
    }

    @Test(arguments: [true, false])
    func `a message that its reader does not take is on disk after the spill time`(_ isManaged: Bool) async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.org/balcony", management: isManaged)
        juliet.isReading = false
        asks(romeo, server)
        romeo.send(chat("juliet@example.org/balcony", "1"))
        asks(romeo, server)
        server.advance(by: .milliseconds(300))
        #expect(romeo.unacknowledged.count == 1)
        server.advance(by: .seconds(3))
        #expect(romeo.unacknowledged.isEmpty)
        let next = try await TestServer(Self.modules, memory: server.crash())
        #expect(try next.login("juliet@example.org/later").takeBodies() == ["1"])
        await next.stop()
    }

    @Test func `where nothing keeps messages, an unread one holds its sender no longer than the spill time`()
        async throws
    {
        let server = try await TestServer([RosterModule.self, PresenceModule.self, MessagesModule.self])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        _ = try silent("juliet@example.org/balcony", server)
        romeo.send(chat("juliet@example.org/balcony", "1"))
        server.advance(by: .seconds(3))
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        await server.stop()
    }

    @Test func `a message behind others waits for its own spill time and no longer`() async throws {
        let server = try await TestServer(Self.modules) { $0.streamManagement.spill = .seconds(8) }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        _ = try silent("juliet@example.org/balcony", server)
        romeo.send(chat("juliet@example.org", "1"))
        server.advance(by: .seconds(1))
        romeo.send(chat("juliet@example.org", "2"))
        server.advance(by: .milliseconds(8300))
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        await server.stop()
    }

    @Test(arguments: 1...20)
    func `what one session could not put on disk another one that has it does`(_ seed: UInt64) async throws {
        let server = try await TestServer(Self.modules, seed: seed)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliets = try ["balcony", "chamber"].map { try silent("juliet@example.org/\($0)", server) }
        asks(romeo, server)
        server.storage.set(.stalled)
        romeo.send(chat("juliet@example.org", "1"))
        server.advance(by: .seconds(3))
        juliets[Int(seed) % 2].end()
        server.settle()
        server.storage.failCommits(1)
        server.storage.set(.none)
        server.advance(by: .seconds(5))
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        await server.stop()
    }

    @Test func `questions and answers pass stanzas that wait`() async throws {
        let server = try await TestServer(Self.modules) { $0.streamManagement.queue = 20 }
        let romeo = try silent("romeo@example.org/orchard", server)
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        juliet.send(chat("romeo@example.org/orchard", "q"))
        server.settle()
        server.storage.set(.stalled)
        // More than may be open: those behind wait for the disk.
        for number in 0..<40 { romeo.send(chat("mercutio@example.org", "\(number)")) }
        romeo.acknowledge()
        asks(romeo, server)
        server.advance(by: .milliseconds(300))
        // Its own answer was read: the message that it covers is safe.
        juliet.requestAcknowledgement()
        server.settle()
        #expect(juliet.unacknowledged.isEmpty)
        #expect(romeo.unacknowledged.count == 40)
        server.storage.set(.none)
        server.advance(by: .milliseconds(300))
        #expect(romeo.unacknowledged.isEmpty)
        let mercutio = try server.login("mercutio@example.org/x")
        #expect(mercutio.takeBodies() == (0..<40).map { "\($0)" })
        await server.stop()
    }

    // MARK: Resuming

    @Test func `a receipt from before a resumption does not acknowledge a newer message`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try silent("juliet@example.org/balcony", server)
        asks(romeo, server)
        server.storage.set(.stalled)
        romeo.send(chat("juliet@example.org/balcony", "old"))
        server.settle()
        romeo.cut()
        romeo.forget()
        romeo.logIn()
        server.advance(by: .seconds(6))
        #expect(romeo.phase == .ready)
        romeo.send(chat("mercutio@example.org", "precious"))
        server.settle()
        // Now juliet has the old one.
        juliet.acknowledge()
        server.settle()
        asks(romeo, server)
        server.advance(by: .seconds(1))
        #expect(romeo.unacknowledged.map { $0[attribute: "id"] } == ["precious"])
        server.storage.set(.none)
        server.settle()
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        await server.stop()
    }

    @Test(arguments: [true, false])
    func `what is sent again after a smaller h arrives once`(_ diskIsBackBefore: Bool) async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        asks(romeo, server)
        server.storage.set(.stalled)
        for number in 0..<50 { romeo.send(chat("juliet@example.org", "\(number)")) }
        server.settle()
        romeo.cut()
        romeo.logIn()
        server.advance(by: .seconds(6))
        #expect(romeo.phase == .ready)
        if diskIsBackBefore { server.storage.set(.none) }
        server.settle()
        romeo.send(chat("juliet@example.org", "new"))
        server.storage.set(.none)
        server.settle()
        asks(romeo, server)
        #expect(romeo.unacknowledged.isEmpty)
        #expect(await server.status("stanzas_repeated") == 50)
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == (0..<50).map { "\($0)" } + ["new"])
        await server.stop()
    }

    /// Juliet's connection is gone, and 300 messages of 4 KB wait for her session.
    private func manyWaiting() async throws -> (TestServer, romeo: TestClient, juliet: TestClient) {
        let server = try await TestServer(Self.modules) { $0.streamManagement.queueBytes = 16 << 20 }
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try silent("juliet@example.org/balcony", server)
        juliet.cut()
        server.settle()
        let text = String(repeating: "x", count: 4096)
        for number in 0..<300 { romeo.send(chat("juliet@example.org/balcony", "\(number)", text)) }
        server.settle()
        return (server, romeo, juliet)
    }

    @Test func `more than a mebibyte waiting is resumed at the client's pace`() async throws {
        let (server, romeo, juliet) = try await manyWaiting()
        juliet.answersRequests = true
        juliet.logIn()
        server.settle()
        #expect(juliet.phase == .ready)
        #expect(juliet.inbox.compactMap { $0[attribute: "id"] } == (0..<300).map { "\($0)" })
        #expect(juliet.inbox.allSatisfy { $0.first("delay", .delay) != nil })
        juliet.inbox = []
        romeo.send(chat("juliet@example.org/balcony", "after"))
        server.settle()
        #expect(juliet.takeBodies() == ["after"])
        await server.stop()
    }

    @Test func `what a slow client leaves unread after a resumption does not end it`() async throws {
        let (server, _, juliet) = try await manyWaiting()
        juliet.logIn()
        for _ in 0..<40 { _ = server.simulation.step(&server.generator) }
        juliet.isReading = false
        server.advance(by: .seconds(60))
        juliet.isReading = true
        server.settle()
        #expect(juliet.phase == .ready)
        #expect(juliet.inbox.count { $0.name == "message" } == 300)
        await server.stop()
    }

    @Test func `what waited for a resumption says since when, an IQ does not`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try silent("juliet@example.org/balcony", server)
        juliet.cut()
        server.settle()
        romeo.send(chat("juliet@example.org/balcony", "1"))
        romeo.send("<presence to='juliet@example.org/balcony'/>")
        romeo.send("<iq type='get' to='juliet@example.org/balcony' id='i'><q xmlns='urn:example'/></iq>")
        server.advance(by: .seconds(5))
        juliet.logIn()
        server.settle()
        let delay = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2026-05-28T20:26:41Z'/>"
        try juliet.expect("<message id='1'><body>1</body>\(delay)</message>")
        try juliet.expect("<presence from='romeo@example.org/orchard'>\(delay)</presence>")
        try juliet.expect("<iq id='i'><q xmlns='urn:example'/></iq>")
        await server.stop()
    }

    @Test func `a resume with an impossible h leaves the session as it was`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        let id = try #require(juliet.resumeID)
        var options = TestClient.Options()
        options.management = true
        let liar = server.client("juliet@example.org/liar", options)
        liar.pretend(resumeID: id, handled: 1_000_000)
        liar.logIn()
        server.settle()
        #expect(liar.errors.first?.first("handled-count-too-high", .streamManagement) != nil)
        // The session's own connection goes on, and the session ends when its client does.
        juliet.inbox = []
        romeo.send(chat("juliet@example.org", "1"))
        server.settle()
        #expect(juliet.takeBodies() == ["1"])
        juliet.end()
        server.settle()
        #expect(server.counts.sessions == 1)
        await server.stop()
    }

    // MARK: Order

    @Test(arguments: [0, nil] as [Int?])
    func `what waits for an absent resource comes before what arrives while it logs in`(_ late: Int?) async throws {
        let server = try await TestServer(Self.modules, config: ["offline": Self.limit(1000)])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        for number in 0..<300 { romeo.send(chat("juliet@example.org/balcony", "\(number)")) }
        server.settle()
        var options = TestClient.Options()
        options.priority = late
        let juliet = server.client("juliet@example.org/balcony", options)
        juliet.logIn()
        for number in 300..<320 {
            romeo.send(chat("juliet@example.org/balcony", "\(number)"))
            for _ in 0..<30 { _ = server.simulation.step(&server.generator) }
        }
        server.settle()
        if late == nil { juliet.sendPresence(0) }
        server.settle()
        #expect(juliet.takeBodies() == (0..<320).map { "\($0)" })
        await server.stop()
    }

    @Test func `a resource that never says it is available gets its own after a while`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.send(chat("juliet@example.org", "waits"))
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        server.advance(by: .seconds(11))
        romeo.send(chat("juliet@example.org/balcony", "now"))
        server.settle()
        #expect(juliet.takeBodies() == ["now"])
        await server.stop()
    }

    @Test func `a resource that takes no messages for the account gets its own at once`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        romeo.send(chat("juliet@example.org", "waits"))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony", priority: -1)
        romeo.send(chat("juliet@example.org/balcony", "now"))
        server.settle()
        #expect(juliet.takeBodies() == ["now"])
        await server.stop()
    }
}
