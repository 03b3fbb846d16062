import Messages
import ModuleKit
import ModuleTesting
import Offline
import Presence
import Roster
import Testing

/// What becomes of the stanzas that a dead session's client did not acknowledge (DESIGN: what is left in its queue).
@Suite struct SessionQueueTests {
    static let modules: [any Module.Type] = [
        RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, SlowModule.self,
    ]
    private static let juliet = "juliet@example.org/balcony"

    /// Juliet takes everything and acknowledges nothing.
    private func silentJuliet(_ server: TestServer) -> TestClient {
        var options = TestClient.Options()
        options.management = true
        let juliet = server.client(Self.juliet, options)
        juliet.logIn()
        server.settle()
        juliet.acknowledge()
        juliet.answersRequests = false
        server.settle()
        juliet.inbox = []
        return juliet
    }

    /// Romeo sends one stanza to her; she loses her connection, and nobody resumes.
    private func died(
        _ stanza: String, with others: [(String, Int)] = []
    ) async throws -> (server: TestServer, romeo: TestClient, others: [TestClient]) {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = silentJuliet(server)
        let others = try others.map { try server.login("juliet@example.org/\($0.0)", priority: $0.1) }
        for client in others + [romeo, juliet] { client.inbox = [] }
        romeo.send(stanza)
        server.settle()
        #expect(juliet.inbox.count == 1)
        juliet.cut()
        server.advance(by: .seconds(1000))
        return (server, romeo, others)
    }

    @Test(arguments: ["chat", "normal"])
    func `chat goes as to the bare address, once, with the stamp of its arrival`(_ type: String) async throws {
        let (server, romeo, others) = try await died(
            "<message to='\(Self.juliet)' type='\(type)' id='1'><body>Hi</body></message>", with: [("chamber", 0)])
        try others[0].expect(
            """
            <message from='romeo@example.org/orchard' type='\(type)' id='1'><body>Hi</body><delay
            xmlns='urn:xmpp:delay' from='example.org' stamp='2026-05-28T20:26:41Z'/></message>
            """)
        try others[0].expectNo()
        try romeo.expectNo()
        await server.stop()
    }

    @Test func `chat with nobody else there is kept`() async throws {
        let (server, romeo, _) = try await died(
            "<message to='juliet@example.org' type='chat' id='1'><body>Hi</body></message>")
        let later = try server.login("juliet@example.org/later")
        #expect(later.takeBodies() == ["Hi"])
        try romeo.expectNo()
        await server.stop()
    }

    @Test func `a copy that another resource took is dropped`() async throws {
        let (server, _, others) = try await died(
            "<message to='juliet@example.org' type='chat' id='1'><body>Hi</body></message>", with: [("chamber", 0)])
        #expect(others[0].takeBodies() == ["Hi"])
        let later = try server.login("juliet@example.org/later", priority: 5)
        try later.expectNo()
        await server.stop()
    }

    @Test(arguments: ["get", "set"])
    func `a request is answered with service-unavailable`(_ type: String) async throws {
        let (server, romeo, _) = try await died(
            "<iq to='\(Self.juliet)' type='\(type)' id='1'><query xmlns='urn:example'/></iq>")
        try romeo.expect(
            """
            <iq from='\(Self.juliet)' type='error' id='1'><error type='cancel'><service-unavailable
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
            """)
        await server.stop()
    }

    @Test(arguments: [
        "<iq to='juliet@example.org/balcony' type='result' id='1'/>",
        "<iq to='juliet@example.org/balcony' type='error' id='1'/>",
        "<message to='juliet@example.org/balcony' type='error' id='1'><body>x</body></message>",
        "<message to='juliet@example.org/balcony' type='headline' id='1'><body>x</body></message>",
        "<presence to='juliet@example.org/balcony'/>",
        "<message to='juliet@example.org/balcony' type='groupchat' id='1'><body>x</body></message>",
    ])
    func `answers, errors, headlines, presence and groupchat are dropped`(_ stanza: String) async throws {
        let (server, romeo, others) = try await died(stanza, with: [("chamber", 0)])
        try romeo.expectNo()
        try romeo.expectNo("iq")
        try others[0].expectNo()
        let later = try server.login("juliet@example.org/later", priority: 5)
        try later.expectNo()
        await server.stop()
    }

    @Test func `what was resumed in time is sent again, in its order, and goes nowhere else`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = silentJuliet(server)
        for number in 1...3 {
            romeo.send("<message to='\(Self.juliet)' type='chat' id='\(number)'><body>\(number)</body></message>")
        }
        server.settle()
        #expect(juliet.takeBodies() == ["1", "2", "3"])
        juliet.cut()
        romeo.send("<message to='\(Self.juliet)' type='chat' id='4'><body>4</body></message>")
        server.advance(by: .seconds(10))
        juliet.logIn()
        server.settle()
        // It has said in `<resume/>` how many it has.
        #expect(juliet.takeBodies() == ["4"])
        #expect(juliet.errors.isEmpty)
        let later = try server.login("juliet@example.org/later", priority: 5)
        try later.expectNo()
        await server.stop()
    }

    @Test func `a session is resumed while its old connection is half-dead`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = silentJuliet(server)
        // The old connection is not heard of again, and the server does not know.
        juliet.isReading = false
        romeo.send("<message to='\(Self.juliet)' type='chat' id='1'><body>1</body></message>")
        server.settle()
        juliet.isReading = true
        juliet.logIn()
        server.settle()
        #expect(juliet.phase == .ready)
        #expect(juliet.takeBodies() == ["1"])
        #expect(server.counts.sessions == 2)
        await server.stop()
    }

    @Test func `a late resume is told how far the session had come`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        for number in 1...3 {
            romeo.send("<message to='juliet@example.org' type='chat' id='\(number)'><body>\(number)</body></message>")
        }
        server.settle()
        romeo.cut()
        server.advance(by: .seconds(620))
        romeo.logIn()
        server.settle()
        #expect(romeo.phase == .ready)
        let juliet = try server.login(Self.juliet)
        // Nothing was sent twice: `<failed h=…/>` covered all of it.
        #expect(juliet.takeBodies() == ["1", "2", "3"])
        await server.stop()
    }

    @Test func `a stop keeps what was not acknowledged`() async throws {
        let server = try await TestServer(Self.modules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = silentJuliet(server)
        romeo.send("<message to='\(Self.juliet)' type='chat' id='1'><body>1</body></message>")
        server.settle()
        #expect(juliet.takeBodies() == ["1"])
        let next = try await TestServer(Self.modules, memory: await server.stop())
        let later = try next.login("juliet@example.org/later")
        #expect(later.takeBodies() == ["1"])
        await next.stop()
    }
}

/// Answers `<slow xmlns='urn:test:slow'/>` when the disk has answered.
struct SlowModule: Module {
    static let info = ModuleInfo("slow")
    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        for (name, order) in [("in-order", IQRoute.Order.inOrder), ("independent", .independent)] {
            let namespace = Namespace("urn:test:slow:\(name)")
            host.iq(.get, namespace, "slow", at: [.host], from: .anyone, answering: order) { request, responder in
                request.kernel.storage.submit([]) { _ in responder.answer(.success(nil)) }
            }
        }
    }
}

@Suite struct IQOrderTests {
    private func answers(_ kind: String) async throws -> [String] {
        let server = try await TestServer(SessionQueueTests.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.inbox = []
        romeo.send(
            """
            <iq type='get' id='1' to='romeo@example.org'><slow xmlns='urn:test:slow:\(kind)'/></iq>
            <message to='romeo@example.org/orchard' id='2'><body>x</body></message>
            """)
        server.settle()
        let found = romeo.inbox.compactMap { $0[attribute: "id"] }
        await server.stop()
        return found
    }

    /// The host's requests are answered on the session's loop only if that is where they are handled; they are.
    private func hostAnswers(_ kind: String) async throws -> [String] {
        let server = try await TestServer(SessionQueueTests.modules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.inbox = []
        server.storage.set(.stalled)
        romeo.send("<iq type='get' id='1' to='example.org'><slow xmlns='urn:test:slow:\(kind)'/></iq>")
        romeo.send("<message to='romeo@example.org/orchard' id='2'><body>x</body></message>")
        server.settle()
        let before = romeo.inbox.compactMap { $0[attribute: "id"] }
        server.storage.set(.none)
        server.settle()
        let after = romeo.inbox.compactMap { $0[attribute: "id"] }
        await server.stop()
        return before + ["|"] + after
    }

    @Test func `the next stanza waits for an answer in order`() async throws {
        #expect(try await hostAnswers("in-order") == ["|", "1", "2"])
    }

    @Test func `an independent request holds nobody up`() async throws {
        #expect(try await hostAnswers("independent") == ["2", "|", "2", "1"])
    }

    @Test func `a request that nobody answers is answered`() async throws {
        #expect(try await answers("nothing").sorted() == ["1", "2"])
    }
}
