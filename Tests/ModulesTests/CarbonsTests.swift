import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

extension TestClient {
    func enableCarbons(_ server: TestServer) throws {
        try ask(server, "set", "<enable xmlns='urn:xmpp:carbons:2'/>")
    }

    /// All messages of the inbox, which are taken out: a body as it is, one in a copy behind `received ` or `sent `, and
    /// the type of a message without any.
    func takeMessages() -> [String] {
        let messages = inbox.filter { $0.name == "message" }
        inbox.removeAll { $0.name == "message" }
        return messages.map { message in
            for name in ["received", "sent"] {
                guard let inner = message.copied(name) else { continue }
                return "\(name) \(inner.first("body", .client)?.text ?? inner[attribute: "type"] ?? "normal")"
            }
            return message.first("body", .client)?.text ?? message[attribute: "type"] ?? "normal"
        }
    }
}

extension Element {
    /// The message in a copy of that kind.
    func copied(_ name: String) -> Element? {
        first(name, .carbons)?.first("forwarded", .forwarded)?.first("message", .client)
    }
}

/// XEP-0280.
@Suite struct CarbonsTests {
    /// Romeo on two devices that both want copies, and Juliet.
    private struct Cast {
        let server: TestServer
        let orchard: TestClient
        let garden: TestClient
        let juliet: TestClient

        init(_ modules: [any Module.Type] = standardModules, management: Bool = false) async throws {
            server = try await TestServer(modules)
            orchard = try server.login("romeo@example.org/orchard", management: management)
            garden = try server.login("romeo@example.org/garden", management: management)
            juliet = try server.login("juliet@example.org/balcony")
            for client in [orchard, garden] { try client.enableCarbons(server) }
            orchard.inbox = []
            garden.inbox = []
        }

        func juliet(sends xml: String) {
            juliet.send(xml)
            server.settle()
        }

        func orchard(sends xml: String) {
            orchard.send(xml)
            server.settle()
        }
    }

    // MARK: Asking (§3 to §5)

    @Test func `it is advertised with its rules`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let info = try romeo.ask(
            server, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", to: "example.org")
        let features = info?.elements.compactMap { $0[attribute: "var"] } ?? []
        #expect(features.contains("urn:xmpp:carbons:2"))
        #expect(features.contains("urn:xmpp:carbons:rules:0"))
        await server.stop()
    }

    @Test func `enabling and disabling have a result, the second time too`() async throws {
        let cast = try await Cast()
        for _ in 0..<2 { try cast.garden.enableCarbons(cast.server) }
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "one"))
        #expect(cast.garden.takeMessages() == ["received one"])
        for _ in 0..<2 { try cast.garden.ask(cast.server, "set", "<disable xmlns='urn:xmpp:carbons:2'/>") }
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "two"))
        #expect(cast.garden.takeMessages().isEmpty)
        try cast.garden.enableCarbons(cast.server)
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "three"))
        #expect(cast.garden.takeMessages() == ["received three"])
        await cast.server.stop()
    }

    @Test(arguments: ["enable", "disable"], ["romeo@example.org", "nobody@example.org"])
    func `others are not allowed, whether there is the account or not`(_ name: String, _ address: String) async throws {
        let cast = try await Cast()
        let request = "<\(name) xmlns='urn:xmpp:carbons:2'/>"
        #expect(cast.juliet.refusal(cast.server, "set", request, to: address) == "not-allowed")
        await cast.server.stop()
    }

    // MARK: Receiving (§7)

    @Test func `BUGS-NEXT C2: a copy is the whole message, of its type, from the account to the device`() async throws {
        let cast = try await Cast()
        let inside = "<body>What man art thou?</body><thread>0e31</thread><x xmlns='urn:example' a='&lt;'>ß</x>"
        cast.juliet(
            sends: "<message to='romeo@example.org/orchard' type='chat' id='7' xml:lang='it'>\(inside)</message>")
        let inner = """
            <message xmlns='jabber:client' from='juliet@example.org/balcony' to='romeo@example.org/orchard' type='chat'
            id='7' xml:lang='it'>\(inside)</message>
            """
        try cast.orchard.expect(inner)
        let copy = try cast.garden.expect(
            """
            <message from='romeo@example.org' to='romeo@example.org/garden' type='chat'>
            <received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\(inner)</forwarded></received>
            </message>
            """)
        #expect(copy.attributes.count == 3)
        try cast.garden.expectNo()
        try cast.orchard.expectNo()
        await cast.server.stop()
    }

    @Test func `what several devices get themselves is copied to the rest`() async throws {
        let cast = try await Cast()
        let low = try cast.server.login("romeo@example.org/low", priority: -1)
        let silent = try cast.server.login("romeo@example.org/silent", priority: nil)
        let plain = try cast.server.login("romeo@example.org/plain", priority: -1)
        for client in [low, silent] { try client.enableCarbons(cast.server) }
        cast.juliet(sends: message(to: "romeo@example.org", "Hi"))
        #expect(cast.orchard.takeMessages() == ["Hi"])
        #expect(cast.garden.takeMessages() == ["Hi"])
        #expect(low.takeMessages() == ["received Hi"])
        #expect(silent.takeMessages() == ["received Hi"])
        #expect(plain.takeMessages().isEmpty)
        cast.juliet(sends: message(to: "romeo@example.org/silent", "Psst"))
        #expect(silent.takeMessages() == ["Psst"])
        #expect(low.takeMessages() == ["received Psst"])
        cast.juliet(sends: message(to: "romeo@example.org/gone", "Where?"))
        #expect(cast.garden.takeMessages() == ["received Psst", "Where?"])
        #expect(low.takeMessages() == ["received Where?"])
        await cast.server.stop()
    }

    @Test func `what is refused is not copied`() async throws {
        let cast = try await Cast()
        cast.juliet(sends: message(to: "romeo@example.org/gone", "Hi", type: "normal"))
        cast.juliet(sends: message(to: "romeo@example.org", "Hi", type: "groupchat"))
        #expect(cast.juliet.takeMessages() == ["error", "error"])
        #expect(cast.orchard.takeMessages().isEmpty)
        #expect(cast.garden.takeMessages().isEmpty)
        await cast.server.stop()
    }

    // MARK: What waits

    @Test func `a message that waits is copied to a device that never gets it otherwise`() async throws {
        let server = try await TestServer(standardModules)
        let low = try server.login("romeo@example.org/low", priority: -1)
        try low.enableCarbons(server)
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send(message(to: "romeo@example.org", "Hi"))
        server.settle()
        #expect(low.takeMessages() == ["received Hi"])
        #expect(try server.login("romeo@example.org/orchard").takeMessages() == ["Hi"])
        #expect(low.takeMessages().isEmpty)
        await server.stop()
    }

    @Test func `a message that waits for a device that has just come is not copied to it`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        try romeo.enableCarbons(server)
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send(message(to: "romeo@example.org", "Hi"))
        server.settle()
        #expect(romeo.takeMessages().isEmpty)
        romeo.sendPresence(0)
        server.settle()
        #expect(romeo.takeMessages() == ["Hi"])
        await server.stop()
    }

    @Test func `a message that goes back because nobody keeps any is not copied`() async throws {
        let server = try await TestServer(standardModules.filter { $0.info.name != "offline" })
        let low = try server.login("romeo@example.org/low", priority: -1)
        try low.enableCarbons(server)
        let juliet = try server.login("juliet@example.org/balcony")
        juliet.send(message(to: "romeo@example.org", "Hi"))
        server.settle()
        #expect(juliet.takeMessages() == ["error"])
        #expect(low.takeMessages().isEmpty)
        await server.stop()
    }

    @Test(arguments: 1...40)
    func `while one device is sent what waited, the others see what comes now, once`(_ seed: UInt64) async throws {
        let server = try await TestServer(standardModules, seed: seed)
        let juliet = try server.login("juliet@example.org/balcony")
        for number in 0..<100 { juliet.send(message(to: "romeo@example.org", "\(number)")) }
        server.settle()
        let low = try server.login("romeo@example.org/low", priority: -1)
        try low.enableCarbons(server)
        let orchard = server.client("romeo@example.org/orchard")
        orchard.logIn()
        for _ in 0..<Int(seed) { _ = server.simulation.step(&server.generator) }
        juliet.send(message(to: "romeo@example.org", "new"))
        server.settle()
        #expect(orchard.takeMessages() == (0..<100).map(String.init) + ["new"])
        #expect(low.takeMessages() == ["received new"])
        await server.stop()
    }

    // MARK: Sending (§8)

    @Test func `the other devices see what one of them sends, whether it has asked itself or not`() async throws {
        let cast = try await Cast()
        let plain = try cast.server.login("romeo@example.org/plain")
        plain.send("<message to='juliet@example.org' type='chat' id='1'><body>Neither</body></message>")
        cast.server.settle()
        #expect(cast.juliet.takeMessages() == ["Neither"])
        #expect(plain.takeMessages().isEmpty)
        for (client, resource) in [(cast.orchard, "orchard"), (cast.garden, "garden")] {
            try client.expect(
                """
                <message from='romeo@example.org' to='romeo@example.org/\(resource)' type='chat'>
                <sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
                <message xmlns='jabber:client' from='romeo@example.org/plain' to='juliet@example.org' type='chat' id='1'>
                <body>Neither</body></message></forwarded></sent></message>
                """)
            try client.expectNo()
        }
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT C1: a message to oneself comes once to each device, and not back`() async throws {
        let cast = try await Cast()
        cast.orchard(sends: message(to: "romeo@example.org/garden", "full"))
        #expect(cast.garden.takeMessages() == ["full"])
        #expect(cast.orchard.takeMessages().isEmpty)
        let low = try cast.server.login("romeo@example.org/low", priority: -1)
        try low.enableCarbons(cast.server)
        for address in ["romeo@example.org", nil] {
            let to = address.map { " to='\($0)'" } ?? ""
            cast.orchard(sends: "<message\(to) type='chat'><body>bare</body></message>")
            #expect(cast.orchard.takeMessages() == ["bare"])
            #expect(cast.garden.takeMessages() == ["bare"])
            #expect(low.takeMessages() == ["received bare"])
        }
        low.send(message(to: "romeo@example.org", "from below"))
        cast.server.settle()
        #expect(cast.orchard.takeMessages() == ["from below"])
        #expect(low.takeMessages().isEmpty)
        await cast.server.stop()
    }

    // MARK: What a copy is not

    @Test(arguments: ["received", "sent"])
    func `BUGS-NEXT C1: a forged copy is never wrapped`(_ name: String) async throws {
        let cast = try await Cast()
        let forged = """
            <\(name) xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'
            from='mercutio@example.org' to='romeo@example.org' type='chat'><body>I</body></message></forwarded></\(name)>
            """
        cast.juliet(sends: "<message to='romeo@example.org/orchard' type='chat'>\(forged)<body>II</body></message>")
        cast.orchard(sends: "<message to='juliet@example.org' type='chat'>\(forged)<body>III</body></message>")
        #expect(cast.orchard.takeMessages().count == 1)
        #expect(cast.garden.takeMessages().isEmpty)
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT A12: a copy comes by no point that a message comes by`() async throws {
        let cast = try await Cast(standardModules + [WitnessModule.self])
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "Hi"))
        cast.orchard(sends: message(to: "juliet@example.org", "Ho"))
        #expect(cast.garden.takeMessages() == ["received Hi", "sent Ho"])
        #expect(await cast.server.status("witness_received") == 2)
        #expect(await cast.server.status("witness_arriving") == 2)
        #expect(await cast.server.status("carbons_copied") == 2)
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT A3: what stamped the message is in its copy`() async throws {
        let cast = try await Cast(standardModules + [WitnessModule.self])
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "Hi"))
        let stamp = "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.org' id='1'/>"
        try cast.orchard.expect("<message type='chat'><body>Hi</body>\(stamp)</message>")
        try cast.garden.expect(
            """
            <message type='chat'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>
            <message xmlns='jabber:client' type='chat'><body>Hi</body>\(stamp)</message>
            </forwarded></received></message>
            """)
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT A3: a copy has the id of the archive that its reader has`() async throws {
        let cast = try await Cast(archivingModules)
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "Hi"))
        cast.orchard(sends: message(to: "juliet@example.org", "Ho"))
        func ids(_ message: Element?) -> [String] {
            message?.elements.filter { $0.isNamed("stanza-id", .stanzaID) }
                .compactMap { $0[attribute: "by"] == "romeo@example.org" ? $0[attribute: "id"] : "another's" } ?? []
        }
        let copies = cast.garden.inbox
        let live = cast.orchard.inbox.flatMap { ids($0) }
        let copied = [ids(copies.first?.copied("received")), ids(copies.last?.copied("sent"))].flatMap(\.self)
        #expect(cast.juliet.inbox.flatMap { ids($0) } == ["another's"])
        cast.garden.inbox = []
        try cast.garden.ask(cast.server, "set", "<query xmlns='urn:xmpp:mam:2'/>")
        let archived = cast.garden.inbox.compactMap { $0.first("result", .archive)?[attribute: "id"] }
        #expect(archived.count == 2)
        #expect(copied == archived)
        #expect(live.first == archived.first)
        await cast.server.stop()
    }

    // MARK: Sessions come and go

    @Test func `copies come with the resumption, and the device has not to ask again`() async throws {
        let cast = try await Cast(management: true)
        cast.garden.cut()
        cast.server.settle()
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "one"))
        cast.orchard(sends: message(to: "juliet@example.org", "two"))
        cast.garden.logIn()
        cast.server.settle()
        #expect(cast.garden.takeMessages() == ["received one", "sent two"])
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "three"))
        #expect(cast.garden.takeMessages() == ["received three"])
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT A1: copies that nobody fetched are gone with their session`() async throws {
        let cast = try await Cast(management: true)
        cast.garden.cut()
        cast.server.settle()
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "one"))
        #expect(cast.orchard.takeMessages() == ["one"])
        cast.server.advance(by: .seconds(2000))
        #expect(cast.orchard.takeMessages().isEmpty)
        #expect(cast.juliet.takeMessages().isEmpty)
        #expect(try cast.server.login("romeo@example.org/late").takeMessages().isEmpty)
        await cast.server.stop()
    }

    @Test func `a message that a lost device leaves to others is not copied again`() async throws {
        let cast = try await Cast(management: true)
        let low = try cast.server.login("romeo@example.org/low", priority: -1)
        try low.enableCarbons(cast.server)
        cast.orchard.cut()
        cast.server.settle()
        cast.juliet(
            sends: """
                <message to='romeo@example.org/orchard' type='chat'><body>Hi</body><no-store xmlns='urn:xmpp:hints'/></message>
                """)
        #expect(low.takeMessages() == ["received Hi"])
        #expect(cast.garden.takeMessages() == ["received Hi"])
        cast.server.advance(by: .seconds(2000))
        #expect(cast.garden.takeMessages() == ["Hi"])
        #expect(low.takeMessages().isEmpty)
        await cast.server.stop()
    }

    @Test func `a session that ends gets nothing more, and another one of its name has to ask`() async throws {
        let cast = try await Cast()
        cast.garden.end()
        cast.server.settle()
        let garden = try cast.server.login("romeo@example.org/garden")
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "Hi"))
        #expect(garden.takeMessages().isEmpty)
        await cast.server.stop()
    }

    @Test func `a reload without the module ends it, and one with it begins anew`() async throws {
        let cast = try await Cast()
        let configs = standardModules.map { ModuleConfig(name: $0.info.name) }
        try await cast.server.reload(configs.filter { $0.name != "carbons" })
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "one"))
        #expect(cast.garden.takeMessages().isEmpty)
        try await cast.server.reload(configs)
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "two"))
        #expect(cast.garden.takeMessages().isEmpty)
        try cast.garden.enableCarbons(cast.server)
        cast.juliet(sends: message(to: "romeo@example.org/orchard", "three"))
        #expect(cast.garden.takeMessages() == ["received three"])
        await cast.server.stop()
    }
}

/// Stands where an archive does: counts what comes by and stamps it.
private struct WitnessModule: Module {
    static let info = ModuleInfo("witness")

    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        let received = host.counter("received", "Messages of clients.")
        let arriving = host.counter("arriving", "Messages for accounts.")
        host.received.add(.record, on: .message) { _ in
            received.value += 1
            return .next
        }
        host.arriving.add(.record, on: .message) { event in
            arriving.value += 1
            let stamp = Element(
                "stanza-id", .stanzaID, ["by": event.account.address.description, "id": String(arriving.value)])
            event.envelope.stanza = event.envelope.stanza.appending(stamp)
            return .next
        }
    }
}
