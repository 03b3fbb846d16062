import ModuleKit
import ModuleTesting
import Testing
import VCard

@Suite struct VCardTests {
    private let empty = "<vCard xmlns='vcard-temp'/>"
    private let card = "<vCard xmlns='vcard-temp'><FN>Peter</FN><NICKNAME>stpeter</NICKNAME></vCard>"

    @Test func `an account publishes its vCard, and everybody may read it`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(try romeo.ask(server, "set", card) == nil)
        let own = try romeo.ask(server, "get", empty)
        #expect(own?.first("FN", .vcard)?.text == "Peter")
        #expect(try juliet.ask(server, "get", empty, to: "romeo@example.org") == own)
        await server.stop()
    }

    @Test func `oneself hears that there is none, others the same as of no account`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.refusal(server, "get", empty) == "item-not-found")
        #expect(romeo.refusal(server, "get", empty, to: "juliet@example.org") == "service-unavailable")
        #expect(romeo.refusal(server, "get", empty, to: "nobody@example.org") == "service-unavailable")
        await server.stop()
    }

    @Test func `nobody writes another's, and the refusal does not tell who exists`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        #expect(romeo.refusal(server, "set", card, to: "juliet@example.org") == "forbidden")
        #expect(romeo.refusal(server, "set", card, to: "nobody@example.org") == "forbidden")
        #expect(romeo.refusal(server, "get", empty, to: "juliet@example.org") == "service-unavailable")
        await server.stop()
    }

    @Test func `the host has one, which the operator writes and nobody else`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let usual = try romeo.ask(server, "get", empty, to: "example.org")
        #expect(usual?.elements.map(\.name) == ["FN"])
        #expect(usual?.first("FN", .vcard)?.text == Build.name)
        #expect(romeo.refusal(server, "set", card, to: "example.org") == "not-allowed")
        await server.stop()

        let said = ConfigNode(
            .map([
                ConfigEntry(
                    "host",
                    options([
                        "name": "Example & Co", "organization": "The Example", "description": "For <everybody>",
                        "url": "https://example.org/", "email": "help@example.org", "address": "help@example.org",
                    ]))
            ]))
        let other = try await TestServer(standardModules, config: ["vcard": said])
        let juliet = try other.login("juliet@example.org/balcony")
        let own = try #require(try juliet.ask(other, "get", empty, to: "example.org"))
        #expect(own.first("FN", .vcard)?.text == "Example & Co")
        #expect(own.first("ORG", .vcard)?.first("ORGNAME", .vcard)?.text == "The Example")
        #expect(own.first("DESC", .vcard)?.text == "For <everybody>")
        #expect(own.first("URL", .vcard)?.text == "https://example.org/")
        #expect(own.first("EMAIL", .vcard)?.first("USERID", .vcard)?.text == "help@example.org")
        #expect(own.first("JABBERID", .vcard)?.text == "help@example.org")
        await other.stop()
    }

    @Test func `one that is too large is refused, and the old one stays`() async throws {
        let server = try await TestServer(standardModules, config: ["vcard": options(["size": "1KiB"])])
        let romeo = try server.login("romeo@example.org/orchard")
        try romeo.ask(server, "set", card)
        let photo = String(repeating: "A", count: 2000)
        let large = "<vCard xmlns='vcard-temp'><PHOTO><BINVAL>\(photo)</BINVAL></PHOTO></vCard>"
        #expect(romeo.refusal(server, "set", large) == "policy-violation")
        #expect(try romeo.ask(server, "get", empty)?.first("FN", .vcard)?.text == "Peter")
        await server.stop()
    }

    @Test func `an empty one is one, to its owner and to others`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        for before in [nil, card] {
            if let before { try romeo.ask(server, "set", before) }
            try romeo.ask(server, "set", empty)
            #expect(try romeo.ask(server, "get", empty) == Element("vCard", .vcard))
            #expect(try juliet.ask(server, "get", empty, to: "romeo@example.org") == Element("vCard", .vcard))
        }
        await server.stop()
    }

    @Test func `a vCard survives a crash, and a disk that refuses is told`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        try romeo.ask(server, "set", card)
        server.storage.set(.failing)
        #expect(romeo.refusal(server, "set", empty) == "resource-constraint")
        let next = try await TestServer(standardModules, memory: server.crash())
        let again = try next.login("romeo@example.org/orchard")
        #expect(try again.ask(next, "get", empty)?.first("NICKNAME", .vcard)?.text == "stpeter")
        await next.stop()
    }
}
