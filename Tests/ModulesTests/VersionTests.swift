import ModuleKit
import ModuleTesting
import Testing
import Time
import Version

@Suite struct VersionTests {
    private let query = "<query xmlns='jabber:iq:version'/>"

    @Test func `the host names the software and its version, and no system unless it is told to`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let answer = try #require(try romeo.ask(server, "get", query, to: "example.org"))
        #expect(answer.elements.map(\.name) == ["name", "version"])
        #expect(answer.elements.map(\.text) == ["Martlet", Build.version])
        await server.stop()
    }

    @Test func `the operating system is told where the operator wants it`() async throws {
        let server = try await TestServer([VersionModule.self], config: ["version": options(["show_system": "true"])])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        let answer = try #require(try romeo.ask(server, "get", query, to: "example.org"))
        #expect(answer.elements.map(\.name) == ["name", "version", "os"])
        #expect(answer.elements.last?.text == Build.operatingSystem)
        #expect(Build.operatingSystem.hasPrefix("Linux "))
        await server.stop()
    }

    @Test func `nobody sets the version, and accounts have none`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.refusal(server, "set", query, to: "example.org") == "service-unavailable")
        #expect(romeo.refusal(server, "get", query, to: "romeo@example.org") == "service-unavailable")
        await server.stop()
    }

    @Test func `a module's domain answers like its host`() async throws {
        let server = try await TestServer([VersionModule.self, TimeModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        #expect(try romeo.ask(server, "get", query, to: "echo.example.org")?.elements.first?.text == "Martlet")
        let time = try romeo.ask(server, "get", "<time xmlns='urn:xmpp:time'/>", to: "echo.example.org")
        #expect(time?.elements.count == 2)
        await server.stop()
    }
}

@Suite struct TimeTests {
    @Test func `the host tells the time in UTC`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        server.advance(by: .seconds(3600))
        let answer = try #require(
            try romeo.ask(server, "get", "<time xmlns='urn:xmpp:time'/>", to: "example.org"))
        #expect(answer.elements.map(\.name) == ["tzo", "utc"])
        #expect(answer.elements.map(\.text) == ["+00:00", server.simulation.clock.wallClock.description])
        #expect(
            romeo.refusal(server, "set", "<time xmlns='urn:xmpp:time'/>", to: "example.org") == "service-unavailable")
        await server.stop()
    }
}
