import Disco
import ModuleKit
import ModuleTesting
import Ping
import Testing

/// XEP-0030, XEP-0128 and XEP-0157; what is advertised is in `DiscoTests` of the services.
@Suite struct DiscoveryTests {
    private let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
    private let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>"

    @Test func `an account tells contacts what it is and which of its resources are there, and others nothing`()
        async throws
    {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        let hidden = try server.login("juliet@example.org/hidden", priority: nil)
        server.befriend(romeo, juliet)
        let identity = try romeo.ask(server, "get", info, to: "juliet@example.org")?.elements.first
        #expect(identity?[attribute: "category"] == "account")
        #expect(identity?[attribute: "type"] == "registered")
        let list = try romeo.ask(server, "get", items, to: "juliet@example.org")
        #expect(list?.elements.map { $0[attribute: "jid"] } == ["juliet@example.org/balcony"])
        let mercutio = try server.login("mercutio@example.org/street")
        for address in ["juliet@example.org", "nobody@example.org"] {
            #expect(mercutio.refusal(server, "get", info, to: address) == "service-unavailable")
            #expect(try mercutio.ask(server, "get", items, to: address)?.elements.isEmpty == true)
        }
        _ = hidden
        await server.stop()
    }

    @Test func `a node that nobody has is not found, at the host and at the own account`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for namespace in ["info", "items"] {
            let query = "<query xmlns='http://jabber.org/protocol/disco#\(namespace)' node='urn:none'/>"
            #expect(romeo.refusal(server, "get", query, to: "example.org") == "item-not-found")
            #expect(romeo.refusal(server, "get", query) == "item-not-found")
            // The node of the accounts is none of the host.
            let offline = query.replacing("urn:none", with: "http://jabber.org/protocol/offline")
            #expect(romeo.refusal(server, "get", offline, to: "example.org") == "item-not-found")
        }
        await server.stop()
    }

    @Test func `a node of no name is none: the answer is that of the host or the account`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let mercutio = try server.login("mercutio@example.org/street")
        for query in [info, items] {
            let nameless = query.replacing("/>", with: " node=''/>")
            for address in ["example.org", "romeo@example.org"] {
                let answer = try romeo.ask(server, "get", nameless, to: address)
                #expect(answer?.elements == (try romeo.ask(server, "get", query, to: address))?.elements)
                // XEP-0030 §3.2: the question is repeated.
                #expect(answer?[attribute: "node"] == "")
            }
            let strangers = mercutio.refusal(server, "get", query, to: "romeo@example.org")
            #expect(mercutio.refusal(server, "get", nameless, to: "romeo@example.org") == strangers)
        }
        await server.stop()
    }

    @Test func `nobody sets what is discovered`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for query in [info, items] {
            #expect(romeo.refusal(server, "set", query, to: "example.org") == "service-unavailable")
        }
        await server.stop()
    }

    @Test func `the host tells whom to turn to`() async throws {
        let contacts = ConfigNode(
            .map([
                ConfigEntry(
                    "contacts",
                    ConfigNode(
                        .map([
                            ConfigEntry("abuse", ConfigNode(.list([scalar("mailto:abuse@example.org")]))),
                            ConfigEntry(
                                "admin",
                                ConfigNode(.list([scalar("xmpp:a@example.org"), scalar("https://example.org/a")]))),
                        ])))
            ]))
        let server = try await TestServer([DiscoModule.self], config: ["disco": contacts])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        let answer = try #require(try romeo.ask(server, "get", info, to: "example.org"))
        let form = try DataForm(in: XMLTree(answer).root)
        #expect(form?.type == "http://jabber.org/network/serverinfo")
        #expect(form?.kind == .result)
        #expect(form?.texts("abuse-addresses") == ["mailto:abuse@example.org"])
        #expect(form?.texts("admin-addresses") == ["xmpp:a@example.org", "https://example.org/a"])
        #expect(form?["sales-addresses"] == nil)
        await server.stop()
    }

    @Test func `without contacts there is no form, and what is no URI is an error of the config`() async throws {
        let server = try await TestServer([DiscoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        let answer = try romeo.ask(server, "get", info, to: "example.org")
        #expect(answer?.first("x", .dataForms) == nil)
        await server.stop()
        for wrong in ["abuse@example.org", ":x", "mailto:", "1a:b", "mailto:a b", "x:<y>"] {
            let report = ConfigReport(file: "m.yml")
            let node = ConfigNode(
                .map([
                    ConfigEntry(
                        "contacts", ConfigNode(.map([ConfigEntry("abuse", ConfigNode(.list([scalar(wrong)])))])))
                ]))
            var section = report.section(node, path: "modules.disco")
            _ = DiscoModule.Options(from: &section)
            #expect(report.errors.count == 1, "\(wrong)")
        }
    }

    @Test func `a module's domain says what it is, and what others answer there`() async throws {
        let server = try await TestServer([DiscoModule.self, PingModule.self, EchoModule.self])
        let romeo = try server.login("romeo@example.org/orchard", priority: nil)
        let answer = try romeo.ask(server, "get", info, to: "echo.example.org")
        #expect(answer?.elements.contains { $0[attribute: "var"] == "urn:xmpp:ping" } == true)
        #expect(romeo.refusal(server, "get", "<ping xmlns='urn:xmpp:ping'/>", to: "echo.example.org") == nil)
        #expect(answer?.elements.first?[attribute: "category"] == "component")
        #expect(try romeo.ask(server, "get", items, to: "echo.example.org")?.elements.isEmpty == true)
        await server.stop()
    }
}
