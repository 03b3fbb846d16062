import Messages
import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// Refuses at the stage `admit` whatever has `<forbidden/>` in it.
struct GuardModule: Module {
    static let info = ModuleInfo("guard")
    static let namespace: Namespace = "urn:test:guard"

    struct Options: ModuleOptions {
        var point: String
        init(from section: inout ConfigSection) { point = section.string("point", default: "received", "Where.") }
    }

    let options: Options
    init(_ options: Options, in host: HostContext) { self.options = options }

    func install(on host: inout HostBuilder) {
        if options.point == "received" {
            host.received.add(.admit, on: .all.with(Self.namespace)) { verdict($0.envelope.stanza) }
        } else {
            host.arriving.add(.admit, on: .all.with(Self.namespace)) { verdict($0.envelope.stanza) }
        }
    }

    private func verdict(_ stanza: Stanza) -> Verdict {
        stanza.root.first("forbidden", Self.namespace) == nil ? .next : .reject(.policyViolation)
    }
}

/// Counts what comes to each stage behind `admit`.
struct WitnessModule: Module {
    static let info = ModuleInfo("witness")
    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        let saw = host.counter("saw", "Stages that saw a message or a request.")
        for stage in [Stage.rewrite, .record, .copy] {
            host.received.add(stage, on: .all) { event in
                if event.envelope.stanza.kind != .presence { saw.value += 1 }
                return .next
            }
            host.arriving.add(stage, on: .all) { event in
                if event.envelope.stanza.type != .error { saw.value += 1 }
                return .next
            }
        }
    }
}

/// Signs what its clients send with its option.
struct SignatureModule: Module {
    static let info = ModuleInfo("signature")
    static let namespace: Namespace = "urn:test:signature"

    struct Options: ModuleOptions {
        var text: String
        init(from section: inout ConfigSection) { text = section.string("text", default: "old", "The signature.") }
    }

    let options: Options
    init(_ options: Options, in host: HostContext) { self.options = options }

    func install(on host: inout HostBuilder) {
        host.received.add(.rewrite, on: .message) { event in
            let mark = Element("signed", Self.namespace, [:], options.text)
            event.envelope = Envelope(event.envelope.stanza.appending(mark), receipt: event.envelope.receipt)
            return .next
        }
    }
}

private func options(_ pairs: KeyValuePairs<String, String>) -> ConfigNode {
    ConfigNode(.map(pairs.map { ConfigEntry($0, ConfigNode(.scalar($1, quoted: false))) }))
}

@Suite struct AdmitTests {
    @Test(arguments: ["received", "arriving"])
    func `what admit refuses gets no further, and the sender is told`(_ point: String) async throws {
        // That the guard stands behind the witness in the list makes no difference.
        let server = try await TestServer(
            [MessagesModule.self, WitnessModule.self, GuardModule.self], config: ["guard": options(["point": point])])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        let juliet = try server.login("juliet@example.org/balcony", priority: nil)
        let forbidden = "<forbidden xmlns='urn:test:guard'/>"
        for (stanza, name) in [
            ("<message to='juliet@example.org/balcony' type='chat' id='1'>\(forbidden)</message>", "message"),
            ("<iq to='juliet@example.org/balcony' type='set' id='1'>\(forbidden)</iq>", "iq"),
        ] {
            let before = try #require(await server.status("witness_saw"))
            romeo.send(stanza)
            server.settle()
            let answer = try romeo.expect("<\(name) type='error' id='1' from='juliet@example.org/balcony'>…</\(name)>")
            #expect(answer.first("error", .client)?.first("policy-violation", .stanzaErrors) != nil)
            try juliet.expectNo(name)
            // Refused where it arrives, it has been through where it was received.
            #expect(await server.status("witness_saw") == before + (point == "received" ? 0 : 3))
        }
        let before = try #require(await server.status("witness_saw"))
        romeo.send("<message to='juliet@example.org/balcony' type='chat' id='2'><body>x</body></message>")
        server.settle()
        #expect(juliet.takeBodies() == ["x"])
        #expect(await server.status("witness_saw") == before + 6)
        await server.stop()
    }
}

@Suite struct ReloadTests {
    private static let names = (0..<12).map { "user\($0)" }

    /// How what each client sends to itself is signed.
    private func signatures(_ clients: [TestClient], _ server: TestServer) -> Set<String?> {
        for client in clients {
            client.inbox = []
            client.send("<message to='\(client.account)/x' type='chat'><body>x</body></message>")
        }
        server.settle()
        return Set(clients.map { $0.inbox.first?.first("signed", SignatureModule.namespace)?.text })
    }

    @Test func `other options hold on every loop at once, and sessions stay`() async throws {
        let modules: [any Module.Type] = [MessagesModule.self, SignatureModule.self]
        let server = try await TestServer(modules, accounts: Self.names, loops: 4)
        let clients = try Self.names.map { try server.login("\($0)@example.org/x") }
        #expect(signatures(clients, server) == ["old"])
        try await server.reload([.init(name: "messages"), .init(name: "signature", node: options(["text": "new"]))])
        #expect(signatures(clients, server) == ["new"])
        #expect(clients.allSatisfy { $0.phase == .ready })
        #expect(server.counts.sessions == clients.count)
        await server.stop()
    }

    @Test func `an error anywhere leaves every loop as it was`() async throws {
        let modules: [any Module.Type] = [MessagesModule.self, SignatureModule.self]
        let server = try await TestServer(modules, accounts: Self.names, loops: 4)
        let clients = try Self.names.map { try server.login("\($0)@example.org/x") }
        let new = ModuleConfig(name: "signature", node: options(["text": "new"]))
        for wrong in [
            [.init(name: "messages", node: options(["nonsense": "1"])), new], [.init(name: "nonsense"), new],
        ] as [[ModuleConfig]] {
            await #expect(throws: CommandError.self) { try await server.reload(wrong) }
            #expect(signatures(clients, server) == ["old"])
        }
        #expect(clients.allSatisfy { $0.phase == .ready })
        await server.stop()
    }
}
