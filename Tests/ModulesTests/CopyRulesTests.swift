import ModuleKit
import ModuleTesting
import Testing

/// XEP-0280 §6.1, rule by rule.
@Suite struct CopyRulesTests {
    struct Rule: CustomTestStringConvertible, Sendable {
        var name: String
        /// Of the message, between its attributes and its end.
        var type: String?
        var content: String
        /// Whether it is copied when Juliet sends it to Romeo's device, and when his device sends it to her.
        var isCopied: Bool

        var testDescription: String { name }

        init(_ name: String, type: String?, _ content: String, isCopied: Bool) {
            (self.name, self.type, self.content, self.isCopied) = (name, type, content, isCopied)
        }
    }

    private static let active = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
    private static let direct = "<x xmlns='jabber:x:conference' jid='room@rooms.example.org'/>"

    static let rules: [Rule] = [
        .init("a chat", type: "chat", "<body>Hi</body>", isCopied: true),
        .init("a chat without anything", type: "chat", "", isCopied: true),
        .init("a chat with what nobody knows", type: "chat", "<x xmlns='urn:example'/>", isCopied: true),
        .init("a typing notice", type: "chat", active, isCopied: true),
        .init("BUGS-NEXT C2: normal with a body", type: "normal", "<body>Hi</body>", isCopied: true),
        .init("no type and a body", type: nil, "<body>Hi</body>", isCopied: true),
        .init("normal without a body", type: "normal", "<subject>Hi</subject>", isCopied: false),
        .init("normal with a foreign body", type: "normal", "<body xmlns='urn:example'>Hi</body>", isCopied: false),
        .init("normal and typing", type: "normal", active, isCopied: true),
        .init(
            "normal with a receipt", type: "normal", "<received xmlns='urn:xmpp:receipts' id='1'/>", isCopied: true),
        .init(
            "normal with a marker", type: "normal", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            isCopied: true),
        .init("a headline", type: "headline", "<body>News</body>", isCopied: false),
        .init("BUGS-NEXT C2: groupchat", type: "groupchat", "<body>Hi</body>", isCopied: false),
        .init(
            "BUGS-NEXT C2: groupchat with an x", type: "groupchat",
            "<body>Hi</body><x xmlns='http://jabber.org/protocol/muc#user'/>", isCopied: false),
        .init("groupchat and typing", type: "groupchat", active, isCopied: false),
        .init("a direct invitation", type: "normal", direct, isCopied: true),
        .init("an error out of the blue", type: "error", "<body>Hi</body>", isCopied: false),
        .init("private", type: "chat", "<body>Hi</body><private xmlns='urn:xmpp:carbons:2'/>", isCopied: false),
        .init("no-copy", type: "chat", "<body>Hi</body><no-copy xmlns='urn:xmpp:hints'/>", isCopied: false),
        .init("a private of another kind", type: "chat", "<private xmlns='urn:example'/>", isCopied: true),
    ]

    @Test(arguments: rules) func `what is copied`(_ rule: Rule) async throws {
        let server = try await TestServer(standardModules)
        let orchard = try server.login("romeo@example.org/orchard")
        let garden = try server.login("romeo@example.org/garden")
        let juliet = try server.login("juliet@example.org/balcony")
        try garden.enableCarbons(server)
        let type = rule.type.map { " type='\($0)'" } ?? ""
        juliet.send("<message to='romeo@example.org/orchard'\(type)>\(rule.content)</message>")
        server.settle()
        #expect(orchard.inbox.contains { $0.name == "message" })
        #expect(garden.inbox.contains { $0.copied("received") != nil } == rule.isCopied)
        garden.inbox = []
        orchard.send("<message to='juliet@example.org/balcony'\(type)>\(rule.content)</message>")
        server.settle()
        #expect(garden.inbox.contains { $0.copied("sent") != nil } == rule.isCopied)
        #expect(garden.inbox.allSatisfy { $0[attribute: "type"] == rule.type })
        await server.stop()
    }

    // MARK: Rooms

    private static let muc = "http://jabber.org/protocol/muc#user"

    @Test(arguments: ["chat", "normal"])
    func `BUGS-NEXT C2: a private message of an occupant is not copied, one to an occupant is`(
        _ type: String
    ) async throws {
        let room = try await Room()
        room.orchard.send(
            "<message to='\(room.address)/hag' type='\(type)'><body>Hi</body><x xmlns='\(Self.muc)'/></message>")
        room.server.settle()
        #expect(room.orchard.takeMessages() == ["Hi"])
        #expect(room.garden.takeMessages() == ["sent Hi"])
        await room.server.stop()
    }

    @Test(arguments: ["chat", "normal"]) func `a mediated invitation is copied`(_ type: String) async throws {
        let room = try await Room()
        room.orchard.send(
            "<message to='\(room.address)' type='\(type)'><x xmlns='\(Self.muc)'><invite to='a@b'/></x></message>")
        room.server.settle()
        #expect(room.orchard.takeMessages() == [type])
        #expect(room.garden.takeMessages() == ["sent \(type)", "received \(type)"])
        await room.server.stop()
    }

    private struct Room {
        let server: TestServer
        let orchard: TestClient
        let garden: TestClient
        let address = "room@mirror.example.org"

        init() async throws {
            server = try await TestServer(standardModules + [MirrorModule.self])
            orchard = try server.login("romeo@example.org/orchard")
            garden = try server.login("romeo@example.org/garden")
            try garden.enableCarbons(server)
            (orchard.inbox, garden.inbox) = ([], [])
        }
    }

    @Test func `BUGS-NEXT C2: an outgoing private message is copied, whatever is in it`() async throws {
        let room = try await Room()
        for resource in ["/hag", ""] {
            room.orchard.send(
                "<message to='\(room.address)\(resource)' type='normal'><x xmlns='\(Self.muc)'/></message>")
        }
        room.server.settle()
        #expect(room.garden.takeMessages() == ["sent normal"])
        await room.server.stop()
    }

    // MARK: Errors

    @Test func `BUGS-NEXT C2: an error in answer to what was copied is copied, and no other`() async throws {
        let server = try await TestServer(standardModules)
        let orchard = try server.login("romeo@example.org/orchard")
        let garden = try server.login("romeo@example.org/garden")
        try garden.enableCarbons(server)
        // The server itself answers: without what was in the message.
        orchard.send(message(to: "nobody@example.org", "Hi", id: "1"))
        server.settle()
        #expect(orchard.takeMessages() == ["error"])
        #expect(garden.takeMessages() == ["sent Hi", "received error"])
        // Of what was not copied.
        orchard.send("<message to='nobody@example.org' id='2' type='normal'><x xmlns='urn:example'/></message>")
        orchard.send("<message to='nobody@example.org' id='3' type='groupchat'><body>Hi</body></message>")
        server.settle()
        #expect(orchard.takeMessages() == ["error", "error"])
        #expect(garden.takeMessages().isEmpty)
        // Of somebody else.
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send("<message to='romeo@example.org/orchard' id='1' type='error'><body>Hi</body></message>")
        server.settle()
        #expect(orchard.takeMessages() == ["Hi"])
        #expect(garden.takeMessages().isEmpty)
        await server.stop()
    }

    @Test func `an error finds the devices that have the copy when the sender is gone`() async throws {
        let server = try await TestServer(standardModules)
        let orchard = try server.login("romeo@example.org/orchard")
        let garden = try server.login("romeo@example.org/garden")
        let juliet = try server.login("juliet@example.org/balcony")
        try garden.enableCarbons(server)
        orchard.send(message(to: "juliet@example.org/balcony", "Hi", id: "1"))
        server.settle()
        orchard.end()
        server.settle()
        juliet.send("<message to='romeo@example.org/orchard' id='1' type='error'/>")
        server.settle()
        #expect(garden.takeMessages() == ["sent Hi", "received error"])
        await server.stop()
    }

    @Test func `an error that a device sends in answer is copied as well`() async throws {
        let server = try await TestServer(standardModules)
        let orchard = try server.login("romeo@example.org/orchard")
        let garden = try server.login("romeo@example.org/garden")
        let juliet = try server.login("juliet@example.org/balcony")
        try garden.enableCarbons(server)
        juliet.send(message(to: "romeo@example.org/orchard", "Hi", id: "1"))
        server.settle()
        orchard.send("<message to='juliet@example.org/balcony' id='1' type='error'/>")
        server.settle()
        #expect(garden.takeMessages() == ["received Hi", "sent error"])
        await server.stop()
    }

    @Test func `the messages that errors are known by are bounded`() async throws {
        let server = try await TestServer(standardModules)
        let orchard = try server.login("romeo@example.org/orchard")
        let garden = try server.login("romeo@example.org/garden")
        let juliet = try server.login("juliet@example.org/balcony")
        try garden.enableCarbons(server)
        for number in 0...256 { orchard.send(message(to: "juliet@example.org/balcony", "Hi", id: "\(number)")) }
        server.settle()
        garden.inbox = []
        for number in [0, 1, 256] {
            juliet.send("<message to='romeo@example.org/orchard' id='\(number)' type='error'/>")
        }
        server.settle()
        #expect(garden.takeMessages() == ["received error", "received error"])
        await server.stop()
    }
}

/// A domain that sends everything back from where it went.
private struct MirrorModule: Module {
    static let info = ModuleInfo("mirror")

    private final class Nothing {}

    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        host.domain("mirror") { domain in
            domain.confined(Nothing.self, idle: .seconds(60)) { _, _ in
                Moved(Nothing())
            } receive: { entity, envelope in
                let stanza = envelope.stanza
                entity.context.kernel.route(Envelope(stanza.with(from: stanza.to, to: stanza.from)))
            } save: { _ in
                []
            }
        }
    }
}
