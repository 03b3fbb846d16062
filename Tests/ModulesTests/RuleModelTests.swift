import ModuleKit
import ModuleTesting
import Testing

/// Random lists, subscriptions and stanzas on a whole server, against a small model of who hears whom.
@Suite struct RuleModelTests {
    /// A rule as the model keeps it: XEP-0016 §2.1 in plain terms.
    private struct Rule {
        var order: Int
        var type: String?
        var value: String
        var isDenial: Bool
        /// Empty: everything.
        var kinds: [String]

        var xml: String {
            let subject = type.map { " type='\($0)' value='\(value)'" } ?? ""
            let children = kinds.map { "<\($0)/>" }.joined()
            return "<item\(subject) action='\(isDenial ? "deny" : "allow")' order='\(order)'>\(children)</item>"
        }
    }

    private struct Model {
        /// Who sees whom: `romeo juliet` if Romeo sees Juliet's presence.
        var sees: Set<String> = []
        /// The group in which Juliet has each of the others.
        var groups: [String: String] = [:]
        var defaultRules: [Rule]?
        var activeRules: [Rule]?

        func subscription(of name: String) -> String {
            switch (sees.contains("juliet \(name)"), sees.contains("\(name) juliet")) {
            case (true, true): "both"
            case (true, false): "to"
            case (false, true): "from"
            case (false, false): "none"
            }
        }

        /// Whether Juliet's rules let this pass between her and a full address of the other.
        func passes(_ kind: String, _ name: String, _ resource: String?) -> Bool {
            for rule in (activeRules ?? defaultRules ?? []).sorted(by: { $0.order < $1.order }) {
                guard rule.kinds.isEmpty || rule.kinds.contains(kind) else { continue }
                let bare = "\(name)@example.org"
                let isConcerned =
                    switch rule.type {
                    case "jid":
                        [bare, "example.org"].contains(rule.value)
                            || resource.map { rule.value == "\(bare)/\($0)" } == true
                    case "group": groups[name] == rule.value
                    case "subscription": subscription(of: name) == rule.value
                    default: true
                    }
                if isConcerned { return !rule.isDenial }
            }
            return true
        }
    }

    private static let others = ["romeo", "mercutio"]
    private static let groups = ["Friends", "Enemies"]
    private static let kinds = ["message", "iq", "presence-in", "presence-out"]

    private static func rules(_ generator: inout SeededGenerator) -> [Rule] {
        (0..<(1 + generator.next() % 5)).map { order in
            let type = ["jid", "jid", "group", "subscription", nil][Int(generator.next() % 5)]
            let value =
                switch type {
                case "jid":
                    ["romeo@example.org", "mercutio@example.org", "romeo@example.org/x", "example.org", "example.net"][
                        Int(generator.next() % 5)]
                case "group": groups[Int(generator.next() % 2)]
                case "subscription": ["none", "to", "from", "both"][Int(generator.next() % 4)]
                default: ""
                }
            let chosen = generator.next() % 2 == 0 ? [] : kinds.filter { _ in generator.next() % 2 == 0 }
            return Rule(
                order: Int(order) * 3, type: type, value: value, isDenial: generator.next() % 3 != 0, kinds: chosen)
        }
    }

    private func settle(_ server: TestServer, _ clients: [String: TestClient]) {
        server.settle()
        for client in clients.values { client.inbox = [] }
    }

    /// What of one stanza of a client arrives at another one, and what comes back.
    private func try_(
        _ stanza: String, _ sender: TestClient, _ receiver: TestClient, _ server: TestServer
    ) -> (arrived: Bool, answer: String?) {
        sender.inbox = []
        receiver.inbox = []
        sender.send(stanza)
        server.settle()
        let arrived = receiver.inbox.contains {
            $0[attribute: "from"] == "\(sender.account)/\(sender.resource)" && $0[attribute: "type"] != "error"
        }
        let answer = sender.inbox.first { $0[attribute: "id"] == "t" }
        return (arrived, answer.flatMap { $0.first("error", .client)?.elements.first?.name })
    }

    @Test(arguments: 1...60) func `who hears whom is what the rules say`(_ seed: UInt64) async throws {
        var generator = SeededGenerator(seed: seed)
        let server = try await TestServer(standardModules, seed: seed)
        var model = Model()
        var clients: [String: TestClient] = [:]
        for name in ["juliet"] + Self.others { clients[name] = try server.login("\(name)@example.org/x") }
        let juliet = clients["juliet"]!
        // Subscriptions of all sorts, before there are rules.
        for name in Self.others {
            for (sight, seer, seen) in [("\(name) juliet", name, "juliet"), ("juliet \(name)", "juliet", name)]
            where generator.next() % 2 == 0 {
                model.sees.insert(sight)
                clients[seer]!.send("<presence to='\(seen)@example.org' type='subscribe'/>")
                server.settle()
                clients[seen]!.send("<presence to='\(seer)@example.org' type='subscribed'/>")
                server.settle()
            }
            let group = Self.groups[Int(generator.next() % 2)]
            model.groups[name] = group
            try juliet.ask(
                server, "set",
                "<query xmlns='jabber:iq:roster'><item jid='\(name)@example.org'><group>\(group)</group></item></query>"
            )
        }
        // Both groups exist, whoever is in them.
        for group in Self.groups {
            try juliet.ask(
                server, "set",
                "<query xmlns='jabber:iq:roster'><item jid='\(group)@example.net'><group>\(group)</group></item></query>"
            )
        }
        for _ in 0..<4 {
            let rules = Self.rules(&generator)
            let list = rules.map(\.xml).joined()
            switch generator.next() % 3 {
            case 0:
                try juliet.setList(server, "d", list)
                try juliet.ask(server, "set", "<query xmlns='jabber:iq:privacy'><default name='d'/></query>")
                model.defaultRules = rules
            case 1:
                try juliet.setList(server, "a", list)
                try juliet.ask(server, "set", "<query xmlns='jabber:iq:privacy'><active name='a'/></query>")
                model.activeRules = rules
            default:
                try juliet.ask(server, "set", "<query xmlns='jabber:iq:privacy'><active/></query>")
                model.activeRules = nil
            }
            settle(server, clients)
            for name in Self.others { try check(name, model, clients, server, seed) }
        }
        await server.stop()
    }

    private func check(
        _ name: String, _ model: Model, _ clients: [String: TestClient], _ server: TestServer, _ seed: UInt64
    ) throws {
        let (other, juliet) = (clients[name]!, clients["juliet"]!)
        let hint = Testing.Comment(rawValue: "seed \(seed): \(name), \(model)")
        // To her.
        for to in ["juliet@example.org", "juliet@example.org/x"] {
            let chat = try_("<message to='\(to)' type='chat' id='t'><body>t</body></message>", other, juliet, server)
            let passes = model.passes("message", name, "x")
            #expect(chat.arrived == passes && chat.answer == (passes ? nil : "service-unavailable"), hint)
        }
        let ping = try_(
            "<iq to='juliet@example.org/x' type='get' id='t'><ping xmlns='urn:xmpp:ping'/></iq>", other, juliet, server)
        #expect(ping.arrived == model.passes("iq", name, "x"), hint)
        #expect(ping.answer == (ping.arrived ? nil : "service-unavailable"), hint)
        let direct = try_("<presence to='juliet@example.org/x' id='t'/>", other, juliet, server)
        #expect(direct.arrived == model.passes("presence-in", name, "x") && direct.answer == nil, hint)
        let shown = try_("<presence id='t'><show>away</show></presence>", other, juliet, server)
        #expect(
            shown.arrived == (model.sees.contains("juliet \(name)") && model.passes("presence-in", name, "x")), hint)
        // From her.
        for (to, resource) in [("\(name)@example.org", nil), ("\(name)@example.org/x", "x")] as [(String, String?)] {
            let chat = try_("<message to='\(to)' type='chat' id='t'><body>t</body></message>", juliet, other, server)
            let passes = model.passes("other", name, resource)
            #expect(chat.arrived == passes && chat.answer == (passes ? nil : "not-acceptable"), hint)
        }
        let seen = try_("<presence id='t'><show>dnd</show></presence>", juliet, other, server)
        #expect(
            seen.arrived == (model.sees.contains("\(name) juliet") && model.passes("presence-out", name, nil)), hint)
        // Who asks sees no more than who is told.
        let probe = try_("<presence to='juliet@example.org' type='probe' id='t'/>", other, other, server)
        #expect(probe.answer == nil, hint)
        other.inbox = []
        other.send("<presence to='juliet@example.org/x' type='probe'/>")
        server.settle()
        let mayAsk = model.passes("other", name, "x") && model.passes("presence-out", name, "x")
        if !mayAsk { #expect(!other.inbox.contains { $0[attribute: "from"] == "juliet@example.org/x" }, hint) }
    }
}
