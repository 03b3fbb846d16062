import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// XEP-0352.
@Suite struct ClientStateTests {
    private static let csi = "urn:xmpp:csi:0"
    private static let inactive = "<inactive xmlns='\(csi)'/>"
    private static let active = "<active xmlns='\(csi)'/>"

    /// Romeo's phone, which nobody looks at, and Juliet, whose presence it sees.
    private struct Cast {
        let server: TestServer
        let phone: TestClient
        let juliet: TestClient

        init(
            _ modules: [any Module.Type] = standardModules, options: ConfigNode = .empty, management: Bool = false,
            framing: TestClient.FramingKind = .stream
        ) async throws {
            server = try await TestServer(modules, config: ["csi": options])
            phone = try server.login("romeo@example.org/phone", management: management, framing: framing)
            juliet = try server.login("juliet@example.org/balcony")
            server.befriend(phone, juliet)
            say(phone, inactive)
        }

        func say(_ client: TestClient, _ xml: String) {
            client.send(xml)
            server.settle()
        }

        /// What the phone got, in short: of presence its type or status, of messages the body or the first child.
        func got() -> [String] {
            defer { phone.inbox = [] }
            return phone.inbox.map { stanza in
                if stanza.name == "iq" { return "iq \(stanza[attribute: "type"] ?? "")" }
                let text = stanza.first("status", .client)?.text ?? stanza.first("body", .client)?.text
                return text ?? stanza[attribute: "type"] ?? stanza.elements.first?.name ?? "presence"
            }
        }
    }

    private static func state(_ name: String, to address: String = "romeo@example.org/phone") -> String {
        "<message to='\(address)' type='chat'><\(name) xmlns='http://jabber.org/protocol/chatstates'/></message>"
    }

    private static func status(_ text: String) -> String { "<presence><status>\(text)</status></presence>" }

    // MARK: What is said

    @Test func `it is offered to who has authenticated`() async throws {
        let server = try await TestServer(standardModules)
        var options = TestClient.Options()
        options.staysOutside = true
        let stranger = server.client("juliet@example.org/balcony", options)
        stranger.logIn()
        server.settle()
        #expect(stranger.offered?.first("csi", .clientState) == nil)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.offered?.first("csi", .clientState) != nil)
        await server.stop()
    }

    @Test(arguments: TestClient.FramingKind.allCases)
    func `presence waits, the last one of each address, until the client is active`(
        _ framing: TestClient.FramingKind
    ) async throws {
        let cast = try await Cast(framing: framing)
        let tablet = try cast.server.login("juliet@example.org/tablet")
        for text in ["one", "two"] { cast.say(cast.juliet, Self.status(text)) }
        cast.say(tablet, Self.status("on the tablet"))
        cast.say(cast.juliet, Self.status("three"))
        #expect(cast.got().isEmpty)
        cast.say(cast.phone, Self.active)
        #expect(cast.got() == ["on the tablet", "three"])
        cast.say(cast.juliet, Self.status("four"))
        #expect(cast.got() == ["four"])
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT C5: saying it twice changes nothing, nor does saying that one is active all the time`()
        async throws
    {
        let cast = try await Cast()
        cast.say(cast.juliet, Self.status("one"))
        cast.say(cast.phone, Self.inactive)
        #expect(cast.got().isEmpty)
        cast.say(cast.phone, Self.active + Self.active)
        #expect(cast.got() == ["one"])
        #expect(cast.phone.errors.isEmpty)
        await cast.server.stop()
    }

    @Test(arguments: ["sleeping", "csi"]) func `there is no other state`(_ name: String) async throws {
        let cast = try await Cast()
        cast.say(cast.phone, "<\(name) xmlns='\(Self.csi)'/>")
        #expect(cast.phone.errors.first?.elements.first?.name == "unsupported-stanza-type")
        #expect(cast.phone.phase == .offline)
        await cast.server.stop()
    }

    @Test func `without the module the elements are unknown`() async throws {
        let server = try await TestServer(standardModules.filter { $0.info.name != "csi" })
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(Self.inactive)
        server.settle()
        #expect(romeo.errors.first?.elements.first?.name == "unsupported-stanza-type")
        await server.stop()
    }

    // MARK: Before the session

    @Test func `BUGS-NEXT C5: who is inactive before the resource is bound is inactive then`() async throws {
        let server = try await TestServer(standardModules)
        var options = TestClient.Options()
        options.staysUnbound = true
        let phone = server.client("romeo@example.org/phone", options)
        phone.logIn()
        server.settle()
        phone.send(Self.inactive)
        phone.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        server.settle()
        #expect(phone.phase == .ready)
        let other = try server.login("romeo@example.org/other")
        #expect(!phone.inbox.contains { $0[attribute: "from"] == other.address?.description })
        phone.send(Self.active)
        server.settle()
        #expect(phone.inbox.contains { $0[attribute: "from"] == other.address?.description })
        await server.stop()
    }

    @Test func `what is said before the resource is bound is bounded, and unknown before authentication`() async throws
    {
        let server = try await TestServer(standardModules)
        var options = TestClient.Options()
        options.staysUnbound = true
        let phone = server.client("romeo@example.org/phone", options)
        phone.logIn()
        server.settle()
        for _ in 0..<8 { phone.send(Self.inactive) }
        server.settle()
        #expect(phone.errors.isEmpty)
        phone.send(Self.inactive)
        server.settle()
        #expect(phone.errors.first?.elements.first?.name == "policy-violation")
        options.staysOutside = true
        let stranger = server.client("romeo@example.org/phone", options)
        stranger.logIn()
        server.settle()
        stranger.send(Self.inactive)
        server.settle()
        #expect(stranger.errors.first?.elements.first?.name == "unsupported-stanza-type")
        await server.stop()
    }

    // MARK: What goes

    static let urgent: [String] = [
        "<message to='romeo@example.org/phone' type='chat'><body>Hi</body></message>",
        "<message to='romeo@example.org' type='normal'><body>Hi</body></message>",
        "<message to='romeo@example.org/phone' type='groupchat'><body>Hi</body></message>",
        "<message to='romeo@example.org/phone' type='groupchat'><subject>Masks</subject></message>",
        "<message to='romeo@example.org/phone' type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>",
        "<message to='romeo@example.org/phone'><x xmlns='jabber:x:conference' jid='a@b'/></message>",
        """
        <message to='romeo@example.org/phone'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='a@b'/></x>
        </message>
        """,
        "<message to='romeo@example.org/phone' type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='1'/></message>",
        "<message to='romeo@example.org/phone' type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
        "<message to='romeo@example.org/phone' type='error'/>",
        "<presence to='romeo@example.org/phone' type='error'/>",
        """
        <presence to='romeo@example.org/phone'><x xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x>
        </presence>
        """,
        "<iq to='romeo@example.org/phone' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq to='romeo@example.org/phone' type='result' id='1'/>",
    ]

    @Test(arguments: urgent)
    func `BUGS-NEXT C3: what somebody waits for goes, behind all that waited`(_ stanza: String) async throws {
        let cast = try await Cast()
        cast.say(cast.juliet, Self.status("one"))
        cast.say(cast.juliet, Self.state("composing"))
        #expect(cast.got().isEmpty)
        cast.say(cast.juliet, stanza)
        let got = cast.got()
        #expect(got.count == 3)
        #expect(got.prefix(2) == ["one", "chat"])
        // It is as inactive as before.
        cast.say(cast.juliet, Self.status("two"))
        #expect(cast.got().isEmpty)
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT C3: a request for a subscription goes`() async throws {
        let cast = try await Cast()
        let mercutio = try cast.server.login("mercutio@example.org/street")
        cast.say(mercutio, "<presence to='romeo@example.org' type='subscribe'/>")
        #expect(cast.got() == ["subscribe"])
        await cast.server.stop()
    }

    static let patient: [String] = [
        "<presence to='romeo@example.org/phone'/>", "<presence to='romeo@example.org/phone' type='unavailable'/>",
        state("composing"), state("paused"),
        "<message to='romeo@example.org/phone' type='headline'><body>News</body></message>",
        "<message to='romeo@example.org/phone' type='chat'/>",
        """
        <message to='romeo@example.org/phone' type='groupchat'><x xmlns='http://jabber.org/protocol/muc#user'>
        <status code='104'/></x></message>
        """,
        """
        <presence to='romeo@example.org/phone'><x xmlns='http://jabber.org/protocol/muc#user'><status code='307'/></x>
        </presence>
        """,
    ]

    @Test(arguments: patient) func `what nobody waits for waits`(_ stanza: String) async throws {
        let cast = try await Cast()
        cast.say(cast.juliet, stanza)
        #expect(cast.got().isEmpty)
        cast.say(cast.phone, Self.active)
        #expect(cast.got().count == 1)
        #expect(await cast.server.status("csi_held") == 1)
        await cast.server.stop()
    }

    @Test func `of typing notices the last one of each address waits, and takes no other message's place`() async throws
    {
        let cast = try await Cast()
        for name in ["composing", "paused", "active"] { cast.say(cast.juliet, Self.state(name)) }
        cast.say(
            cast.juliet, "<message to='romeo@example.org/phone' type='chat'><store xmlns='urn:example'/></message>")
        #expect(cast.got() == ["chat", "chat"])
        cast.say(
            cast.juliet, "<message to='romeo@example.org/phone' type='headline'><x xmlns='urn:example'/></message>")
        cast.say(cast.juliet, "<message to='romeo@example.org/phone' type='chat'><thread>1</thread></message>")
        cast.say(cast.juliet, Self.state("composing"))
        cast.say(cast.juliet, "<presence to='romeo@example.org/phone'/>")
        cast.say(cast.juliet, Self.state("gone"))
        cast.say(cast.phone, Self.active)
        #expect(cast.phone.inbox.map { $0.elements.first?.name } == ["x", "thread", "delay", "gone"])
        await cast.server.stop()
    }

    @Test func `BUGS-NEXT C3: the copy of a message goes, that of a typing notice waits`() async throws {
        let cast = try await Cast()
        let desk = try cast.server.login("romeo@example.org/desk", priority: 10)
        cast.say(cast.phone, Self.active)
        try cast.phone.enableCarbons(cast.server)
        cast.say(cast.phone, Self.inactive)
        cast.phone.inbox = []
        cast.say(cast.juliet, Self.state("composing", to: "romeo@example.org/desk"))
        #expect(cast.phone.takeMessages().isEmpty)
        cast.say(cast.juliet, message(to: "romeo@example.org/desk", "Hi"))
        #expect(cast.phone.takeMessages() == ["received chat", "received Hi"])
        cast.say(desk, message(to: "juliet@example.org", "Ho"))
        #expect(cast.phone.takeMessages() == ["sent Ho"])
        await cast.server.stop()
    }

    @Test func `what an inactive client asks its archive for does not wait`() async throws {
        let cast = try await Cast(archivingModules)
        cast.say(cast.juliet, message(to: "romeo@example.org", "Hi"))
        cast.say(cast.juliet, Self.status("one"))
        cast.phone.inbox = []
        cast.say(cast.phone, "<iq type='set' id='1'><query xmlns='urn:xmpp:mam:2'/></iq>")
        #expect(cast.phone.inbox.map(\.name) == ["presence", "message", "iq"])
        #expect(cast.phone.inbox.first { $0.name == "message" }?.elements.map(\.name) == ["result"])
        #expect(await cast.server.status("csi_held") == 1)
        await cast.server.stop()
    }

    // MARK: How it comes

    @Test func `BUGS-NEXT C4: what waited says since when, what did not wait says nothing`() async throws {
        let cast = try await Cast()
        let since = cast.server.simulation.clock.wallClock.description
        cast.say(cast.juliet, Self.status("one"))
        cast.say(cast.juliet, Self.state("composing"))
        cast.server.advance(by: .seconds(100))
        cast.say(cast.juliet, "<iq to='romeo@example.org/phone' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
        let delay = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='\(since)'/>"
        try cast.phone.expect("<presence><status>one</status>\(delay)</presence>")
        try cast.phone.expect(
            "<message><composing xmlns='http://jabber.org/protocol/chatstates'/>\(delay)</message>")
        try cast.phone.expect("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>")
        cast.say(cast.juliet, message(to: "romeo@example.org/phone", "Hi"))
        try cast.phone.expect("<message><body>Hi</body></message>")
        await cast.server.stop()
    }

    @Test(arguments: [("stanzas", 3), ("bytes", 2)])
    func `BUGS-NEXT C4: when there is no more room all of it goes`(_ bound: (String, Int)) async throws {
        let value = bound.0 == "stanzas" ? "3" : "1024"
        let cast = try await Cast(options: options([bound.0: value]))
        let fill = bound.0 == "stanzas" ? "" : "<x xmlns='urn:example'>\(String(repeating: "x", count: 300))</x>"
        for number in 1...bound.1 + 1 {
            cast.say(
                cast.juliet,
                """
                <message to='romeo@example.org/phone' type='headline'><body>\(number)</body>\(fill)</message>
                """)
            #expect(cast.got() == (number == bound.1 ? (1...number).map(String.init) : []))
        }
        await cast.server.stop()
    }

    @Test func `presence that takes the place of older one needs no more room`() async throws {
        let cast = try await Cast(options: options(["stanzas": "2", "bytes": "1024"]))
        for number in 0..<100 { cast.say(cast.juliet, Self.status("\(number)")) }
        #expect(cast.got().isEmpty)
        cast.say(cast.phone, Self.active)
        #expect(cast.got() == ["99"])
        await cast.server.stop()
    }

    // MARK: The connection

    @Test(arguments: [false, true])
    func `BUGS-NEXT C5: what waited comes with the resumption, behind what is older, and the client is active`(
        _ halfDead: Bool
    ) async throws {
        let cast = try await Cast(management: true)
        cast.phone.answersRequests = false
        cast.say(cast.juliet, message(to: "romeo@example.org/phone", "older"))
        cast.say(cast.juliet, Self.status("held"))
        cast.say(cast.juliet, Self.state("composing"))
        if halfDead {
            cast.phone.isReading = false
        } else {
            cast.phone.cut()
            cast.server.settle()
            cast.say(cast.juliet, Self.status("later"))
            cast.say(cast.juliet, message(to: "romeo@example.org/phone", "news"))
        }
        #expect(cast.got() == ["older"])
        cast.phone.isReading = true
        cast.phone.logIn()
        cast.server.settle()
        #expect(cast.got() == (halfDead ? ["held", "chat"] : ["held", "chat", "later", "news"]))
        cast.say(cast.juliet, Self.status("now"))
        #expect(cast.got() == ["now"])
        #expect(cast.phone.errors.isEmpty)
        await cast.server.stop()
    }

    @Test func `what waited says since when once, however often it waited`() async throws {
        let cast = try await Cast(management: true)
        cast.say(cast.juliet, Self.status("held"))
        cast.phone.cut()
        cast.server.settle()
        cast.phone.logIn()
        cast.server.settle()
        let presence = try cast.phone.expect("<presence>…</presence>")
        #expect(presence.elements.count { $0.isNamed("delay", .delay) } == 1)
        await cast.server.stop()
    }

    @Test func `counts of stream management go on over what is held and what goes`() async throws {
        let cast = try await Cast(management: true)
        for round in 0..<10 {
            cast.say(cast.juliet, Self.status("\(round)"))
            cast.say(cast.juliet, Self.state("composing"))
            if round.isMultiple(of: 3) { cast.say(cast.juliet, message(to: "romeo@example.org", "\(round)")) }
            if round.isMultiple(of: 4) { cast.say(cast.phone, Self.active + Self.inactive) }
        }
        cast.say(cast.phone, Self.active)
        let before = cast.phone.inbox.count
        cast.phone.cut()
        cast.phone.logIn()
        cast.server.settle()
        // Nothing comes twice: all of it had been counted.
        #expect(cast.phone.inbox.count == before)
        #expect(cast.phone.inbox.compactMap { $0.first("body", .client)?.text } == ["0", "3", "6", "9"])
        #expect(cast.phone.errors.isEmpty)
        await cast.server.stop()
    }

    @Test(arguments: [false, true])
    func `what waits is gone with its session, and nothing that is owed keeping waits`(_ management: Bool) async throws
    {
        let cast = try await Cast(management: management)
        cast.say(cast.juliet, Self.state("composing"))
        cast.say(cast.juliet, "<message to='romeo@example.org' type='chat'><x xmlns='urn:example'/></message>")
        #expect(cast.got() == ["chat", "chat"])
        cast.say(cast.juliet, Self.state("composing"))
        cast.phone.end()
        cast.server.settle()
        cast.juliet.inbox = []
        let late = try cast.server.login("romeo@example.org/late")
        try late.expectNo()
        try cast.juliet.expectNo()
        await cast.server.stop()
    }

    @Test func `a sender's acknowledgement does not wait for a client that is inactive`() async throws {
        let cast = try await Cast(management: true)
        let nurse = try cast.server.login("juliet@example.org/nurse", management: true)
        cast.say(nurse, Self.state("composing"))
        cast.say(nurse, message(to: "romeo@example.org", "Hi"))
        nurse.requestAcknowledgement()
        cast.server.settle()
        #expect(nurse.unacknowledged.isEmpty)
        await cast.server.stop()
    }

    @Test func `a reload without the module lets go of what waits`() async throws {
        let cast = try await Cast()
        cast.say(cast.juliet, Self.status("one"))
        let configs = standardModules.map { ModuleConfig(name: $0.info.name) }
        try await cast.server.reload(configs.filter { $0.name != "csi" })
        cast.server.settle()
        #expect(cast.got() == ["one"])
        cast.say(cast.juliet, Self.status("two"))
        #expect(cast.got() == ["two"])
        await cast.server.stop()
    }

    @Test func `an account that is removed takes inactive sessions with it`() async throws {
        let cast = try await Cast(management: true)
        cast.say(cast.juliet, Self.status("one"))
        await cast.server.removeAccount("romeo@example.org")
        #expect(cast.phone.phase == .offline)
        #expect(cast.server.counts.sessions == 1)
        await cast.server.stop()
    }
}
