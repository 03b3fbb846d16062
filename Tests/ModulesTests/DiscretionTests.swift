import Messages
import ModuleKit
import ModuleTesting
import Roster
import Testing

/// The answer to a message tells its sender nothing of anybody's presence, and mostly nothing of the account.
@Suite struct DiscretionTests {
    static let payloads: [(content: String, isKept: Bool)] = [
        ("<body>Hi</body>", true),
        ("<body>Hi</body><no-permanent-store xmlns='urn:xmpp:hints'/>", true),
        ("<body>Hi</body><no-copy xmlns='urn:xmpp:hints'/>", true),
        ("<subject>Hi</subject>", true),
        ("<received xmlns='urn:xmpp:receipts' id='1'/>", true),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true),
        ("<encrypted xmlns='urn:xmpp:omemo:2'/>", true),
        ("<unknown xmlns='urn:unknown:x'/>", true),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>", true),
        ("<body>Hi</body><no-store xmlns='urn:xmpp:hints'/>", false),
        ("<encrypted xmlns='urn:xmpp:omemo:2'/><no-store xmlns='urn:xmpp:hints'/>", false),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", false),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/><no-store xmlns='urn:xmpp:hints'/>", false),
        ("<request xmlns='urn:xmpp:receipts'/>", false),
        ("<thread>x</thread>", false),
        ("", false),
    ]
    static let accounts = ["nobody", "away", "online", "detached"]

    /// The conditions of the errors that come back, by the account.
    private func answers(
        _ server: TestServer, _ romeo: TestClient, _ type: String, _ content: String, to resource: String
    ) -> [String: String] {
        var answers: [String: String] = [:]
        for account in Self.accounts {
            romeo.inbox = []
            romeo.send("<message to='\(account)@example.org\(resource)' type='\(type)' id='m'>\(content)</message>")
            server.settle()
            answers[account] = romeo.inbox.first?.first("error", .client)?.elements.first?.name
            #expect(romeo.inbox.count <= 1)
        }
        return answers
    }

    @Test(arguments: payloads)
    func `the answer to a message is the same whether its addressee is there, away or nobody`(
        _ content: String, _ isKept: Bool
    ) async throws {
        let server = try await TestServer(standardModules, accounts: ["romeo", "away", "online", "detached"])
        let romeo = try server.login("romeo@example.org/orchard")
        _ = try server.login("online@example.org/here")
        try server.login("detached@example.org/there", management: true).cut()
        let everybody = Dictionary(uniqueKeysWithValues: Self.accounts.map { ($0, "service-unavailable") })
        for type in ["chat", "normal", "headline", "groupchat", "error"] {
            for resource in ["", "/absent"] {
                let answers = answers(server, romeo, type, content, to: resource)
                let expected: [String: String] =
                    switch type {
                    // RFC 6121 §8.5.2.1.1, §8.5.3.2.1: a mistake at every address.
                    case "groupchat": everybody
                    case "headline", "error": [:]
                    // §8.5.3.2.1: it was meant for that client and for no other.
                    case "normal" where isKept && !resource.isEmpty: everybody
                    // §8.5.1: the sender has to know that it is not kept.
                    default: isKept ? ["nobody": "service-unavailable"] : [:]
                    }
                #expect(answers == expected, "\(type) to \(resource)")
            }
        }
        await server.stop()
    }

    @Test(arguments: payloads.filter { !$0.isKept })
    func `where nothing is kept for anybody, what vanishes does so in silence too`(
        _ content: String, _ isKept: Bool
    ) async throws {
        let server = try await TestServer(
            [RosterModule.self, MessagesModule.self], accounts: ["romeo", "away", "online", "detached"])
        let romeo = try server.login("romeo@example.org/orchard")
        _ = try server.login("online@example.org/here")
        try server.login("detached@example.org/there", management: true).cut()
        for type in ["chat", "normal"] {
            for resource in ["", "/absent"] {
                #expect(answers(server, romeo, type, content, to: resource) == [:], "\(type) to \(resource)")
            }
        }
        await server.stop()
    }
}
