import Messages
import ModuleTesting
import Offline
import Presence
import Roster
import Testing

/// RFC 6121 §8.5: what becomes of a message, by its type, its address and who is there.
struct DeliveryRule: CustomTestStringConvertible, Sendable {
    enum Outcome: Sendable {
        /// To these resources.
        case delivered([String])
        /// Kept for the next login.
        case kept
        /// Back with service-unavailable.
        case bounced
        case dropped
    }

    var type: String
    /// Of the address; empty: bare.
    var resource: String
    /// Resources with their priorities; nil: connected without presence.
    var present: [(String, Int?)]
    var outcome: Outcome

    var testDescription: String { "\(type) to /\(resource) with \(present): \(outcome)" }

    static let all: [DeliveryRule] = [
        // §8.5.2.1: bare address, some resource is there.
        .init(type: "chat", resource: "", present: [("a", 0)], outcome: .delivered(["a"])),
        .init(type: "normal", resource: "", present: [("a", 0)], outcome: .delivered(["a"])),
        .init(type: "chat", resource: "", present: [("a", 5), ("b", 1)], outcome: .delivered(["a"])),
        .init(type: "chat", resource: "", present: [("a", 5), ("b", 5)], outcome: .delivered(["a", "b"])),
        .init(type: "headline", resource: "", present: [("a", 5), ("b", 1)], outcome: .delivered(["a", "b"])),
        .init(type: "headline", resource: "", present: [("a", 5), ("b", -1)], outcome: .delivered(["a"])),
        .init(type: "groupchat", resource: "", present: [("a", 0)], outcome: .bounced),
        .init(type: "error", resource: "", present: [("a", 0)], outcome: .dropped),
        .init(type: "chat", resource: "", present: [("a", -1), ("b", 0)], outcome: .delivered(["b"])),
        // §8.5.2.1.1: negative priorities get nothing that is for the bare address.
        .init(type: "chat", resource: "", present: [("a", -1)], outcome: .kept),
        .init(type: "normal", resource: "", present: [("a", -5)], outcome: .kept),
        .init(type: "headline", resource: "", present: [("a", -1)], outcome: .dropped),
        .init(type: "chat", resource: "", present: [("a", nil)], outcome: .kept),
        // §8.5.2.2: nobody there.
        .init(type: "chat", resource: "", present: [], outcome: .kept),
        .init(type: "normal", resource: "", present: [], outcome: .kept),
        .init(type: "groupchat", resource: "", present: [], outcome: .bounced),
        .init(type: "headline", resource: "", present: [], outcome: .dropped),
        .init(type: "error", resource: "", present: [], outcome: .dropped),
        // §8.5.3.1: the resource is there, whatever its priority.
        .init(type: "chat", resource: "a", present: [("a", -1), ("b", 5)], outcome: .delivered(["a"])),
        .init(type: "normal", resource: "a", present: [("a", nil)], outcome: .delivered(["a"])),
        .init(type: "groupchat", resource: "a", present: [("a", 0)], outcome: .delivered(["a"])),
        .init(type: "headline", resource: "a", present: [("a", 0)], outcome: .delivered(["a"])),
        .init(type: "error", resource: "a", present: [("a", 0)], outcome: .delivered(["a"])),
        // §8.5.3.2: it is not.
        .init(type: "chat", resource: "x", present: [("a", 0)], outcome: .delivered(["a"])),
        .init(type: "normal", resource: "x", present: [("a", 0)], outcome: .bounced),
        .init(type: "normal", resource: "x", present: [], outcome: .bounced),
        .init(type: "chat", resource: "x", present: [], outcome: .kept),
        .init(type: "groupchat", resource: "x", present: [("a", 0)], outcome: .bounced),
        .init(type: "headline", resource: "x", present: [("a", 0)], outcome: .dropped),
        .init(type: "error", resource: "x", present: [("a", 0)], outcome: .dropped),
    ]
}

@Suite struct MessagesTests {
    @Test(arguments: DeliveryRule.all)
    func `a message goes where RFC 6121 says`(_ rule: DeliveryRule) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliets = try rule.present.map { resource, priority in
            (resource, try server.login("juliet@example.org/\(resource)", priority: priority))
        }
        let address = "juliet@example.org" + (rule.resource.isEmpty ? "" : "/\(rule.resource)")
        romeo.send(message(to: address, "Hi", type: rule.type))
        server.settle()
        var got = juliets.filter { $0.1.takeBodies() == ["Hi"] }.map(\.0)
        switch rule.outcome {
        case .delivered(let resources): #expect(got == resources)
        case .bounced:
            #expect(got.isEmpty)
            try romeo.expect(
                """
                <message type='error' from='\(address)' id='m'><error type='cancel'><service-unavailable
                xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
                """)
        case .kept, .dropped: #expect(got.isEmpty)
        }
        try romeo.expectNo()
        let late = try server.login("juliet@example.org/late", priority: 10)
        got = late.takeBodies()
        if case .kept = rule.outcome { #expect(got == ["Hi"]) } else { #expect(got.isEmpty) }
        await server.stop()
    }

    @Test func `a message to nobody comes back, one to another server too`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "nobody@example.org", "Hi"))
        server.settle()
        try romeo.expect(
            """
            <message type='error' from='nobody@example.org'><error type='cancel'><service-unavailable
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
            """)
        romeo.send(message(to: "nobody@elsewhere.example", "Hi"))
        server.settle()
        try romeo.expect(
            """
            <message type='error'><error type='cancel'><remote-server-not-found
            xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>
            """)
        await server.stop()
    }

    @Test(arguments: TestClient.FramingKind.allCases)
    func `what is inside a message arrives as it was sent`(_ framing: TestClient.FramingKind) async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard", framing: framing)
        let juliet = try server.login("juliet@example.org/balcony", framing: framing)
        let inside = "<body>&lt;&amp;'\"ß\u{1F339}</body><x xmlns='urn:example' a='1'><y>z</y></x>"
        romeo.send("<message to='juliet@example.org' type='chat' id='1'>\(inside)</message>")
        server.settle()
        try juliet.expect(
            "<message from='romeo@example.org/orchard' to='juliet@example.org' type='chat' id='1'>\(inside)</message>")
        await server.stop()
    }
}
