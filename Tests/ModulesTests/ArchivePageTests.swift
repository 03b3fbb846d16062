import ModuleKit
import ModuleTesting
import Testing

/// Pages of an archive (XEP-0313 §4, XEP-0059).
@Suite struct ArchivePageTests {
    private struct Scene {
        let server: TestServer
        let romeo: TestClient
        let juliet: TestClient
        let ids: [String]

        init(_ count: Int, page: Int = 100) async throws {
            server = try await TestServer(
                archivingModules, config: ["mam": options(["page": "\(page)"]), "offline": options(["limit": "1000"])])
            romeo = try server.login("romeo@example.org/orchard")
            juliet = try server.login("juliet@example.org/balcony")
            for number in 0..<count {
                romeo.send(message(to: "juliet@example.org", "\(number)"))
                server.settle()
                server.advance(by: .seconds(1))
            }
            ids = juliet.inbox.compactMap { $0.archiveIDs(by: "juliet@example.org").first }
            juliet.inbox = []
        }
    }

    private static func set(_ max: Int? = nil, _ rest: String = "") -> String {
        (max.map { "<max>\($0)</max>" } ?? "") + rest
    }

    @Test func `forward, backward, flipped: the same messages in chronological order (BUGS-NEXT A5)`() async throws {
        let scene = try await Scene(12)
        let (server, juliet, ids) = (scene.server, scene.juliet, scene.ids)
        func bodies(_ set: String, flipped: Bool = false) -> [String] {
            juliet.archive(server, set: set, flipped: flipped).bodies
        }
        #expect(bodies(Self.set(3)) == ["0", "1", "2"])
        #expect(bodies(Self.set(3, "<after>\(ids[2])</after>")) == ["3", "4", "5"])
        #expect(bodies(Self.set(3, "<before/>")) == ["9", "10", "11"])
        #expect(bodies(Self.set(3, "<before>\(ids[9])</before>")) == ["6", "7", "8"])
        #expect(bodies(Self.set(3, "<before>\(ids[1])</before>")) == ["0"])
        #expect(bodies(Self.set(3, "<before/>"), flipped: true) == ["11", "10", "9"])
        #expect(bodies(Self.set(3, "<after>\(ids[11])</after>")).isEmpty)
        await server.stop()
    }

    @Test func `complete, first, last, count and index say what they should (BUGS-NEXT A6)`() async throws {
        let scene = try await Scene(5)
        let (server, juliet, ids) = (scene.server, scene.juliet, scene.ids)
        let part = juliet.archive(server, set: Self.set(2))
        #expect(
            !part.isComplete && part.first == ids[0] && part.last == ids[1] && part.index == "0" && part.count == nil)
        let rest = juliet.archive(server, set: Self.set(3, "<after>\(ids[1])</after>"))
        #expect(rest.isComplete && rest.first == ids[2] && rest.last == ids[4] && rest.index == nil)
        let back = juliet.archive(server, set: Self.set(2, "<before>\(ids[2])</before>"))
        #expect(back.isComplete && back.ids == Array(ids[..<2]) && back.index == "0")
        let flipped = juliet.archive(server, set: Self.set(2), flipped: true)
        #expect(flipped.first == ids[0] && flipped.last == ids[1] && flipped.ids == [ids[1], ids[0]])
        let none = juliet.archive(server, ["with": "nobody@example.org"])
        #expect(none.isComplete && none.first == nil && none.last == nil && none.count == "0")
        let whole = juliet.archive(server)
        #expect(whole.isComplete && whole.count == "5")
        let count = juliet.archive(server, set: Self.set(0))
        #expect(count.items.isEmpty && !count.isComplete && count.count == "5" && count.first == nil)
        let nothing = juliet.archive(server, ["with": "nobody@example.org"], set: Self.set(0))
        #expect(nothing.isComplete && nothing.count == "0")
        await server.stop()
    }

    @Test func `an id that is not in the archive is item-not-found, wherever it stands (BUGS-NEXT A7)`() async throws {
        let scene = try await Scene(3)
        let (server, juliet, ids) = (scene.server, scene.juliet, scene.ids)
        let foreign = try #require(scene.romeo.archive(server).ids.first)
        for id in ["1", "-1", "x", "0\(ids[0])", "\(Int64.max)", "\(Int64.min)", "99999999999999999999"]
            + (foreign == ids[0] ? [] : [foreign])
        {
            #expect(juliet.archive(server, set: "<after>\(id)</after>").condition == "item-not-found")
            #expect(juliet.archive(server, set: "<before>\(id)</before>").condition == "item-not-found")
            for field in ["after-id", "before-id", "ids"] {
                #expect(juliet.archive(server, [field: id]).condition == "item-not-found")
            }
        }
        #expect(juliet.query(server, query(ids: [ids[1], "1"])).condition == "item-not-found")
        await server.stop()
    }

    private func query(ids: [String], set: String = "") -> String {
        let values = ids.map { "<value>\($0)</value>" }.joined()
        return """
            <query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value>
            </field><field var='ids'>\(values)</field></x><set xmlns='http://jabber.org/protocol/rsm'>\(set)</set></query>
            """
    }

    @Test func `ids, after-id, before-id and times limit what is found (XEP-0313 §4.1)`() async throws {
        let scene = try await Scene(8)
        let (server, juliet, ids) = (scene.server, scene.juliet, scene.ids)
        #expect(juliet.query(server, query(ids: [ids[5], ids[1], ids[5]])).bodies == ["1", "5"])
        #expect(
            juliet.query(server, query(ids: [ids[5], ids[1], ids[6]], set: "<max>2</max><before/>")).bodies == [
                "5", "6",
            ])
        #expect(juliet.archive(server, ["after-id": ids[2], "before-id": ids[5]]).bodies == ["3", "4"])
        #expect(juliet.archive(server, ["after-id": ids[2]], set: "<max>2</max><before/>").bodies == ["6", "7"])
        let stamps = juliet.archive(server).results.compactMap {
            $0.first("result", .archive)?.first("forwarded", .forwarded)?.first("delay", .delay)?[attribute: "stamp"]
        }
        #expect(juliet.archive(server, ["start": stamps[2], "end": stamps[4]]).bodies == ["2", "3", "4"])
        #expect(juliet.archive(server, ["start": stamps[6]]).bodies == ["6", "7"])
        #expect(juliet.archive(server, ["end": stamps[1]]).bodies == ["0", "1"])
        await server.stop()
    }

    @Test func `with: a bare address is all of its resources, a full one itself (XEP-0313 §4.1.1)`() async throws {
        let server = try await TestServer(archivingModules)
        let orchard = try server.login("romeo@example.org/orchard")
        let tomb = try server.login("romeo@example.org/tomb")
        let juliet = try server.login("juliet@example.org/balcony")
        orchard.send(message(to: "juliet@example.org", "from the orchard"))
        server.settle()
        tomb.send(message(to: "juliet@example.org", "from the tomb"))
        juliet.send(message(to: "romeo@example.org", "to both"))
        juliet.send(message(to: "nobody@example.org", "to nobody"))
        juliet.send(message(to: "romeo@example.org/tomb", "to the tomb"))
        server.settle()
        func bodies(_ with: String) -> Set<String> { Set(juliet.archive(server, ["with": with]).bodies) }
        #expect(bodies("romeo@example.org") == ["from the orchard", "from the tomb", "to both", "to the tomb"])
        #expect(bodies("ROMEO@example.org/tomb") == ["from the tomb", "to the tomb"])
        #expect(bodies("rome@example.org").isEmpty)
        #expect(bodies("example.org").isEmpty)
        #expect(juliet.archive(server, ["with": "@"]).condition == "jid-malformed")
        await server.stop()
    }

    @Test(arguments: [
        (
            "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field><field var='search'><value>x</value></field></x></query>",
            "feature-not-implemented"
        ),
        (
            "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:other</value></field></x></query>",
            "bad-request"
        ),
        ("<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'/></query>", "bad-request"),
        (
            "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>-1</max></set></query>",
            "bad-request"
        ),
        (
            "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>x</max></set></query>",
            "bad-request"
        ),
        (
            "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><index>3</index></set></query>",
            "feature-not-implemented"
        ),
        (
            "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='start'><value>yesterday</value></field></x></query>",
            "bad-request"
        ),
    ])
    func `a query that cannot be understood is refused (BUGS-NEXT A9)`(
        _ query: String, _ condition: String
    ) async throws {
        let scene = try await Scene(1)
        #expect(scene.juliet.query(scene.server, query).condition == condition)
        await scene.server.stop()
    }

    @Test(arguments: [
        "<query xmlns='urn:xmpp:mam:2'/>",
        "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'/></query>",
        "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>99999999999999999999</max></set></query>",
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'/></query>",
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='with'><value/></field></x></query>",
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='include-groupchat'><value>true</value></field></x></query>",
    ])
    func `a query without a form, or with an empty one, is about all messages`(_ query: String) async throws {
        let scene = try await Scene(2)
        #expect(scene.juliet.query(scene.server, query).bodies == ["0", "1"])
        await scene.server.stop()
    }

    @Test func `metadata names both ends, and the form all fields (XEP-0313 §4.1.5, §5)`() async throws {
        let scene = try await Scene(3)
        let (server, juliet) = (scene.server, scene.juliet)
        let metadata = try juliet.ask(server, "get", "<metadata xmlns='urn:xmpp:mam:2'/>")
        #expect(metadata?.first("start", .archive)?[attribute: "id"] == scene.ids.first)
        #expect(metadata?.first("end", .archive)?[attribute: "id"] == scene.ids.last)
        let form = try juliet.ask(server, "get", "<query xmlns='urn:xmpp:mam:2'/>")
        let fields = form?.first("x", .dataForms)?.elements.compactMap { $0[attribute: "var"] } ?? []
        #expect(
            Set(fields).isSuperset(of: [
                "FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids", "include-groupchat",
            ]))
        let empty = try await TestServer(archivingModules)
        let romeo = try empty.login("romeo@example.org/desk")
        #expect(try romeo.ask(empty, "get", "<metadata xmlns='urn:xmpp:mam:2'/>")?.elements.isEmpty == true)
        await empty.stop()
        await server.stop()
    }

    @Test func `an archive is paged like a list, whatever is asked (seeded)`() async throws {
        let scene = try await Scene(40, page: 10)
        let (server, juliet, ids) = (scene.server, scene.juliet, scene.ids)
        var random = SeededGenerator(seed: 7)
        for _ in 0..<300 {
            var list = Array(ids.enumerated())
            func place() -> String? { Bool.random(using: &random) ? ids.randomElement(using: &random) : nil }
            let (after, before, afterField, beforeField) = (place(), place(), place(), place())
            let max = [nil, 1, 3, 10, 50].randomElement(using: &random)!
            let isBackward = Bool.random(using: &random)
            let isFlipped = Bool.random(using: &random)
            if let after { list.removeAll { $0.offset <= ids.firstIndex(of: after)! } }
            if let afterField { list.removeAll { $0.offset <= ids.firstIndex(of: afterField)! } }
            if isBackward, let before { list.removeAll { $0.offset >= ids.firstIndex(of: before)! } }
            if let beforeField { list.removeAll { $0.offset >= ids.firstIndex(of: beforeField)! } }
            let limit = min(max ?? 10, 10)
            let page = isBackward ? Array(list.suffix(limit)) : Array(list.prefix(limit))
            var fields: [(String, String)] = []
            if let afterField { fields.append(("after-id", afterField)) }
            if let beforeField { fields.append(("before-id", beforeField)) }
            var set = Self.set(max)
            if let after { set += "<after>\(after)</after>" }
            if isBackward { set += before.map { "<before>\($0)</before>" } ?? "<before/>" }
            let form = fields.map { "<field var='\($0)'><value>\($1)</value></field>" }.joined()
            let answer = juliet.query(
                server,
                """
                <query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'>\(form)</x><set
                xmlns='http://jabber.org/protocol/rsm'>\(set)</set>\(isFlipped ? "<flip-page/>" : "")</query>
                """)
            let wanted = page.map { String($0.offset) }
            #expect(answer.bodies == (isFlipped ? wanted.reversed() : wanted))
            #expect(answer.isComplete == (list.count <= limit))
            #expect(answer.first == page.first?.element && answer.last == page.last?.element)
        }
        await server.stop()
    }
}
