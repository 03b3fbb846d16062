import ModuleKit
import ModuleTesting
import Testing
import XMPPServer

/// Hosts and modules that a reload takes out, with clients that are there.
@Suite struct TakenOutTests {
    private static func configs(
        _ types: [any Module.Type] = standardModules, without gone: Set<String> = []
    )
        -> [ModuleConfig]
    {
        types.map { ModuleConfig(name: $0.info.name) }.filter { !gone.contains($0.name) }
    }

    private func gone(_ client: TestClient, _ from: String) -> Int {
        client.inbox.count {
            $0.name == "presence" && $0[attribute: "type"] == "unavailable" && $0[attribute: "from"] == from
        }
    }

    // MARK: Hosts

    @Test func `a host that is taken out ends its sessions, and contacts hear it`() async throws {
        let server = try await TestServer(standardModules, hosts: ["example.org", "example.net"])
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.net/balcony")
        let nurse = try server.login("mercutio@example.net/hall", management: true)
        server.befriend(romeo, juliet)
        nurse.cut()
        var options = TestClient.Options()
        options.staysUnbound = true
        let halfway = server.client("romeo@example.net/x", options)
        halfway.logIn()
        server.settle()
        romeo.inbox = []

        let plan = try await server.reload(Self.configs(), hosts: ["example.org"], dryRun: true)
        let step = try #require(plan.first { $0.part == "host example.net" })
        #expect(step.outcome == "applied: it goes, and 2 sessions end")
        #expect(juliet.phase == .ready)

        try await server.reload(Self.configs(), hosts: ["example.org"])
        server.settle()
        for client in [juliet, halfway] {
            #expect(client.phase == .offline)
            #expect(client.errors.last?.first("host-gone", .streamErrors) != nil, "\(client.errors)")
        }
        #expect(gone(romeo, "juliet@example.net/balcony") == 1)
        #expect(server.counts.sessions == 1)
        romeo.inbox = []
        romeo.send(message(to: "juliet@example.net", "hello"))
        romeo.send(message(to: "juliet@example.net/balcony", "hello"))
        server.settle()
        #expect(romeo.inbox.count == 2)
        #expect(
            romeo.inbox.allSatisfy {
                $0.first("error", .client)?.first("remote-server-not-found", .stanzaErrors) != nil
            })
        // Back again, with all that was kept.
        try await server.reload(Self.configs(), hosts: ["example.org", "example.net"])
        let again = try server.login("juliet@example.net/balcony")
        let roster = try again.ask(server, "get", "<query xmlns='jabber:iq:roster'/>")
        #expect(roster?.elements.first?[attribute: "jid"] == "romeo@example.org")
        await server.stop()
    }

    @Test(arguments: 0..<20)
    func `what is on its way when a host goes is delivered, kept or comes back`(_ seed: UInt64) async throws {
        let server = try await TestServer(
            standardModules, hosts: ["example.org", "example.net"], loops: 3, seed: seed)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.net/balcony", management: seed % 2 == 0)
        romeo.inbox = []
        var sent: [String] = []
        func send(_ count: Int, to: [String]) {
            for _ in 0..<count {
                for to in to {
                    sent.append("\(sent.count)")
                    romeo.send(message(to: to, sent[sent.count - 1], id: sent[sent.count - 1]))
                }
            }
        }
        let addresses = ["juliet@example.net", "mercutio@example.net", "juliet@example.net/balcony"]
        send(10, to: addresses)
        for _ in 0..<(seed * 5) { _ = server.simulation.step(&server.generator) }
        send(10, to: addresses)
        try await server.reload(Self.configs(), hosts: ["example.org"])
        send(10, to: addresses)
        server.advance(by: .seconds(10))
        romeo.requestAcknowledgement()
        server.settle()
        #expect(romeo.unacknowledged.isEmpty)
        try await server.reload(Self.configs(), hosts: ["example.org", "example.net"])
        var got = juliet.takeBodies()
        for address in ["juliet@example.net/balcony", "mercutio@example.net/hall"] {
            got += try server.login(address).takeBodies()
        }
        let bounced = romeo.inbox.filter { $0[attribute: "type"] == "error" }.compactMap { $0[attribute: "id"] }
        for id in sent { #expect(got.contains(id) || bounced.contains(id), "\(id) is lost, seed \(seed)") }
        await server.stop()
    }

    // MARK: Modules

    @Test func `without the module that kept them messages are delivered at login, and no more are kept`() async throws
    {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        for number in 0..<3 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        let steps = try await server.reload(Self.configs(without: ["offline"]))
        let step = try #require(steps.first { $0.part == "keeping messages at example.org" })
        #expect(step.detail.contains("3 messages wait"))
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["0", "1", "2"])
        romeo.inbox = []
        romeo.send(message(to: "juliet@example.org", "live"))
        romeo.send(message(to: "mercutio@example.org", "lost"))
        server.settle()
        #expect(juliet.takeBodies() == ["live"])
        #expect(romeo.inbox.contains { $0.first("error", .client)?.first("service-unavailable", .stanzaErrors) != nil })
        // Nothing stands in the way after a restart, nor when the module is back.
        try await server.reload(Self.configs())
        romeo.send(message(to: "mercutio@example.org", "kept"))
        server.settle()
        #expect(try server.login("mercutio@example.org/hall").takeBodies() == ["kept"])
        await server.stop()
    }

    @Test func `what waits is delivered to a client that is there when the module goes, in the midst of it`()
        async throws
    {
        let server = try await TestServer(standardModules, config: ["offline": options(["limit": "1000"])])
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 0..<300 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        let juliet = server.client("juliet@example.org/balcony")
        juliet.logIn()
        for _ in 0..<60 { _ = server.simulation.step(&server.generator) }
        try await server.reload(Self.configs(without: ["offline"]))
        server.settle()
        #expect(juliet.takeBodies() == (0..<300).map(String.init))
        let storage = await server.stop()
        let again = try await TestServer(
            standardModules.filter { $0.info.name != "offline" }, memory: storage)
        let last = try again.login("juliet@example.org/balcony")
        #expect(last.takeBodies().isEmpty)
        await again.stop()
    }

    @Test func `when the module for presence goes, contacts hear that everybody has gone`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        server.befriend(romeo, juliet)
        romeo.send("<presence to='mercutio@example.org'/>")
        server.settle()
        (romeo.inbox, juliet.inbox) = ([], [])
        try await server.reload(Self.configs(without: ["presence", "offline"]))
        server.settle()
        #expect(gone(romeo, "juliet@example.org/balcony") == 1)
        #expect(gone(juliet, "romeo@example.org/orchard") == 1)
        try await server.reload(Self.configs())
        (romeo.inbox, juliet.inbox) = ([], [])
        romeo.sendPresence(0)
        juliet.sendPresence(0)
        server.settle()
        #expect(romeo.inbox.contains { $0[attribute: "from"] == "juliet@example.org/balcony" })
        #expect(juliet.inbox.contains { $0[attribute: "from"] == "romeo@example.org/orchard" })
        await server.stop()
    }

    @Test func `what came while a client was not there for the server is sent when it is again`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        try await server.reload(Self.configs(without: ["presence", "offline"]))
        try await server.reload(Self.configs())
        romeo.send(message(to: "juliet@example.org", "kept"))
        server.settle()
        #expect(juliet.takeBodies().isEmpty)
        juliet.sendPresence(0)
        server.settle()
        #expect(juliet.takeBodies() == ["kept"])
        await server.stop()
    }

    @Test func `without presence a stranger says that it has gone, and nothing else`() async throws {
        let server = try await TestServer(standardModules)
        try await server.reload(Self.configs(without: ["presence", "offline"]))
        let juliet = try server.login("juliet@example.org/balcony")
        let mercutio = try server.login("mercutio@example.org/square")
        juliet.inbox = []
        mercutio.send("<presence type='unavailable' to='juliet@example.org/other'/>")
        mercutio.send("<presence type='unavailable' to='juliet@example.org'><status>look</status></presence>")
        server.settle()
        #expect(juliet.inbox.count == 1)
        #expect(juliet.inbox.allSatisfy { $0.elements.isEmpty })
        await server.stop()
    }

    @Test func `messages on their way to the disk when a host goes are there when it is back`() async throws {
        let server = try await TestServer(standardModules, hosts: ["example.org", "example.net"])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        server.storage.set(.stalled)
        for number in 0..<200 { romeo.send(message(to: "juliet@example.net", "\(number)")) }
        server.settle()
        try await server.reload(Self.configs(), hosts: ["example.org"])
        try await server.reload(Self.configs(), hosts: ["example.org", "example.net"])
        let juliet = server.client("juliet@example.net/balcony")
        juliet.logIn()
        server.settle()
        server.storage.set(.none)
        server.settle()
        #expect(juliet.phase == .ready, "\(juliet.errors)")
        #expect(juliet.takeBodies() == (0..<200).map(String.init))
        await server.stop()
    }

    @Test(arguments: 0..<20)
    func `an account whose store is full when its host goes can log in when it is back`(_ steps: Int) async throws {
        let server = try await TestServer(
            standardModules, config: ["offline": options(["limit": "2"])], hosts: ["example.org", "example.net"])
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.net/balcony", management: true)
        juliet.answersRequests = false
        for number in 0..<300 { romeo.send(message(to: "juliet@example.net", "\(number)", id: "\(number)")) }
        server.settle()
        let full = Self.configs().map { config in
            config.name == "offline" ? ModuleConfig(name: "offline", node: options(["limit": "2"])) : config
        }
        try await server.reload(full, hosts: ["example.org"])
        for _ in 0..<(steps * 4) { _ = server.simulation.step(&server.generator) }
        try await server.reload(full, hosts: ["example.org", "example.net"])
        let again = try server.login("juliet@example.net/chamber")
        let bounced = romeo.inbox.filter { $0[attribute: "type"] == "error" }.compactMap { $0[attribute: "id"] }
        #expect(Set(again.takeBodies() + bounced).count == 300)
        await server.stop()
    }

    @Test func `an error finds its way back to a host without messages`() async throws {
        let server = try await TestServer(
            standardModules, hosts: ["example.org", "example.net"])
        try await server.reload(Self.configs()) { config in
            config.hosts[0].modules.removeAll { ["messages", "offline", "carbons"].contains($0.name) }
        }
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.inbox = []
        romeo.send(message(to: "nobody@example.net", "hello", id: "lost"))
        server.settle()
        #expect(romeo.inbox.map { $0[attribute: "id"] } == ["lost"])
        await server.stop()
    }

    @Test func `a config that would keep mail for nobody is refused`() async throws {
        for lacking in ["presence", "messages"] {
            await #expect(throws: ConfigErrors.self) {
                try await TestServer(standardModules.filter { $0.info.name != lacking })
            }
        }
        let infos = standardModules.map { $0.info }
        let lacks = ModuleInfo.lacks(of: infos.filter { !["presence", "offline"].contains($0.name) }, among: infos)
        #expect(lacks.contains { $0.module == "messages" } && lacks.allSatisfy { !$0.isError })
    }

    /// The module, and those that cannot do without it.
    private static func closure(_ names: Set<String>) -> Set<String> {
        let infos = standardModules.map { $0.info }
        var gone = names
        while true {
            let lacks = ModuleInfo.lacks(of: infos.filter { !gone.contains($0.name) }, among: infos)
            let more = Set(lacks.filter(\.isError).map(\.module))
            if more.isEmpty { return gone }
            gone.formUnion(more)
        }
    }

    private static let pairs = standardModules.indices.flatMap { left in
        standardModules.indices.filter { $0 >= left }.map {
            Set([standardModules[left].info.name, standardModules[$0].info.name])
        }
    }

    @Test(arguments: pairs)
    func `any two modules are taken out under load, and put back`(_ pair: Set<String>) async throws {
        let server = try await TestServer(standardModules, seed: UInt64(abs(pair.hashValue % 1000)))
        let romeo = try server.login("romeo@example.org/orchard", management: true)
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        let mercutio = try server.login("mercutio@example.org/square", management: true)
        server.befriend(romeo, juliet)
        for client in [romeo, juliet, mercutio] { client.inbox = [] }
        var sent: [String] = []
        func work() {
            for to in ["juliet@example.org", "juliet@example.org/balcony", "mercutio@example.org"] {
                sent.append("\(sent.count)")
                romeo.send(message(to: to, sent[sent.count - 1], id: sent[sent.count - 1]))
            }
            juliet.send("<presence><status>\(sent.count)</status></presence>")
            mercutio.send("<iq type='get' id='v\(sent.count)' to='romeo@example.org'><vCard xmlns='vcard-temp'/></iq>")
            mercutio.send("<iq type='get' id='r\(sent.count)'><query xmlns='jabber:iq:roster'/></iq>")
            for _ in 0..<10 { _ = server.simulation.step(&server.generator) }
        }
        let out = Self.closure(pair)
        for _ in 0..<3 {
            work()
            try await server.reload(Self.configs(without: out))
            work()
            juliet.cut()
            work()
            try await server.reload(Self.configs())
            work()
            juliet.logIn()
            server.settle()
        }
        server.advance(by: .seconds(10))
        romeo.requestAcknowledgement()
        server.settle()
        #expect(romeo.unacknowledged.isEmpty)
        // All is as it was: each sees the other, and every message was delivered or came back.
        for client in [romeo, juliet, mercutio] { client.sendPresence(0) }
        server.settle()
        let bodies = (juliet.inbox + mercutio.inbox).compactMap { $0.first("body", .client)?.text }
        let bounced = romeo.inbox.filter { $0[attribute: "type"] == "error" }.compactMap { $0[attribute: "id"] }
        for id in sent { #expect(bodies.contains(id) || bounced.contains(id), "\(id) is lost without \(out)") }
        for (client, other) in [(romeo, "juliet@example.org/balcony"), (juliet, "romeo@example.org/orchard")] {
            let last = client.inbox.last { $0.name == "presence" && $0[attribute: "from"] == other }
            #expect(last != nil && last?[attribute: "type"] == nil, "without \(out)")
        }
        // Nobody has a question open.
        for type in ["v", "r"] {
            let ids = mercutio.inbox.compactMap { $0[attribute: "id"] }.filter { $0.hasPrefix(type) }
            #expect(Set(ids).count == sent.count / 3, "without \(out)")
        }
        juliet.inbox = []
        romeo.end()
        server.settle()
        #expect(gone(juliet, "romeo@example.org/orchard") == 1)
        await server.stop()
    }
}
