import Messages
import ModuleKit
import ModuleTesting
import Offline
import Ping
import Presence
import Roster
import Testing
import XMPPServer

struct SecondPing: Module {
    static let info = ModuleInfo("second-ping")
    init(_ options: NoOptions, in host: HostContext) {}
    func install(on host: inout HostBuilder) {
        host.iq(.get, .ping, "ping", at: [.host], from: .anyone) { _ in nil }
    }
}

/// Owns `one.HOST`.
struct DomainOne: Module {
    static let info = ModuleInfo("domain-one")
    init(_ options: NoOptions, in host: HostContext) {}
    func install(on host: inout HostBuilder) { host.domain("one") { _ in } }
}

struct DomainOneAgain: Module {
    static let info = ModuleInfo("domain-one-again")
    init(_ options: NoOptions, in host: HostContext) {}
    func install(on host: inout HostBuilder) { host.domain("one") { _ in } }
}

@Suite struct ModuleLoaderTests {
    private func problems(
        _ modules: [any Module.Type], config: [String: ConfigNode] = [:], hosts: [String] = ["example.org"],
        adjust: (inout ServerConfig) -> Void = { _ in }
    ) async throws -> String {
        do {
            let server = try await TestServer(modules, config: config, hosts: hosts, adjust: adjust)
            await server.stop()
            return ""
        } catch let errors as ConfigErrors {
            return errors.description
        }
    }

    @Test func `a module whose need nobody before it provides is refused`() async throws {
        #expect(try await problems([PresenceModule.self]).contains("needs a module that provides ContactService"))
        #expect(try await problems([RosterModule.self, PresenceModule.self]) == "")
    }

    @Test func `an unknown module is refused, at its place`() async throws {
        let found = try await problems([PingModule.self]) { config in
            config.hosts[0].modules.append(ModuleConfig(name: "pong", line: 7))
        }
        #expect(found == "martlet.yml:7: modules.pong: there is no such module")
    }

    @Test func `two modules that answer one request are refused`() async throws {
        #expect(try await problems([PingModule.self, SecondPing.self]).contains("ping and second-ping both answer"))
    }

    @Test func `two modules on one domain are refused`() async throws {
        #expect(try await problems([DomainOne.self, DomainOneAgain.self]).contains("one.example.org is taken"))
    }

    @Test func `a module's domain that is a host is refused`() async throws {
        let found = try await problems([DomainOne.self], hosts: ["example.org", "one.example.org"])
        #expect(found.contains("one.example.org is taken"))
    }

    @Test func `all errors come at once`() async throws {
        let wrong = ConfigNode(
            .map([
                ConfigEntry("limit", line: 3, ConfigNode(line: 3, .scalar("none", quoted: false))),
                ConfigEntry("expiri", line: 4, ConfigNode(line: 4, .scalar("1h", quoted: false))),
            ]))
        let found = try await problems([OfflineModule.self, PresenceModule.self], config: ["offline": wrong])
        // Presence needs a roster, offline needs messages.
        #expect(found.split(separator: "\n").count == 4, "\(found)")
        #expect(found.contains("martlet.yml:3: modules.offline.limit"))
        #expect(found.contains("martlet.yml:4: modules.offline.expiri"))
    }

    @Test func `a reload that is wrong changes nothing, one that is right keeps the sessions`() async throws {
        let server = try await TestServer([MessagesModule.self, PingModule.self])
        let romeo = try server.login("romeo@example.org/orchard")
        await #expect(throws: CommandError.self) {
            try await server.reload([ModuleConfig(name: "messages"), ModuleConfig(name: "nonsense")])
        }
        let ping = "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>"
        romeo.send(ping)
        server.settle()
        try romeo.expect("<iq type='result' id='p'/>")
        try await server.reload([ModuleConfig(name: "messages")])
        romeo.send(ping)
        server.settle()
        try romeo.expect("<iq type='error' id='p'>…</iq>")
        #expect(romeo.phase == .ready)
        await server.stop()
    }
}
