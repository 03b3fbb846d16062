import ModuleKit
import ModuleTesting
import Testing

@Suite struct ArchiveTests {
    @Test func `a message is in both archives, under the id that its addressee was told (BUGS-NEXT A3)`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send(message(to: "juliet@example.org", "Hi"))
        server.settle()
        let live = try juliet.expect("<message>…</message>")
        let theirs = juliet.archive(server)
        #expect(theirs.ids == live.archiveIDs(by: "juliet@example.org"))
        #expect(theirs.items.first?.from == "romeo@example.org/orchard")
        #expect(theirs.items.first?.to == "juliet@example.org")
        #expect(theirs.isComplete && theirs.first == theirs.ids.first && theirs.last == theirs.ids.last)
        #expect(theirs.count == "1" && theirs.index == "0")
        let result = try #require(theirs.results.first)
        #expect(result[attribute: "from"] == "juliet@example.org")
        #expect(result[attribute: "to"] == "juliet@example.org/balcony")
        let inner = result.first("result", .archive)?.first("forwarded", .forwarded)
        #expect(inner?.first("delay", .delay)?[attribute: "stamp"] != nil)
        #expect(inner?.first("message", .client)?.archiveIDs(by: "juliet@example.org") == theirs.ids)

        let own = romeo.archive(server)
        #expect(own.bodies == ["Hi"])
        // None of the sender's archive towards the other side.
        #expect(live.archiveIDs(by: "romeo@example.org").isEmpty)
        #expect(own.results.first?.first("result", .archive)?[attribute: "queryid"] == "q")
        await server.stop()
    }

    @Test func `an offline copy has the id of the archive, and the archive has it once (BUGS-NEXT A2, A12)`()
        async throws
    {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "kept"))
        server.settle()
        let juliet = try server.login("juliet@example.org/balcony")
        let late = try juliet.expect("<message>…</message>")
        let archive = juliet.archive(server)
        #expect(archive.bodies == ["kept"])
        #expect(archive.ids == late.archiveIDs(by: "juliet@example.org"))
        await server.stop()
    }

    @Test func `what is routed once more keeps its row and id (BUGS-NEXT A2)`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let phone = try server.login("juliet@example.org/phone", management: true)
        _ = try server.login("juliet@example.org/tablet")
        romeo.send(message(to: "juliet@example.org/phone", "once"))
        server.settle()
        let first = try phone.expect("<message>…</message>")
        phone.cut()
        server.advance(by: .seconds(3600))
        let again = try server.login("juliet@example.org/desk")
        let archive = again.archive(server)
        #expect(archive.bodies == ["once"])
        #expect(archive.ids == first.archiveIDs(by: "juliet@example.org"))
        await server.stop()
    }

    @Test(arguments: ["juliet@example.org/nowhere", "nobody@example.org"])
    func `what is refused is in no archive (BUGS-NEXT A4)`(_ address: String) async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send(message(to: address, "refused", type: "normal"))
        server.settle()
        try romeo.expect("<message type='error'>…</message>")
        #expect(romeo.archive(server).items.isEmpty)
        #expect(juliet.archive(server).items.isEmpty)
        await server.stop()
    }

    @Test func `a message for which there is no room goes back and is in no archive (BUGS-NEXT A4)`() async throws {
        let server = try await TestServer(
            archivingModules, config: ["offline": options(["limit": "2", "expiry": "1h"])])
        let romeo = try server.login("romeo@example.org/orchard")
        for number in 0..<4 { romeo.send(message(to: "juliet@example.org", "\(number)", id: "\(number)")) }
        server.settle()
        let refused = romeo.inbox.filter { $0[attribute: "type"] == "error" }.compactMap { $0[attribute: "id"] }
        #expect(refused == ["2", "3"])
        #expect(romeo.archive(server).bodies == ["0", "1"])
        // Those that wait have expired: now there is room.
        server.advance(by: .hours(2))
        romeo.inbox = []
        for number in 4..<6 { romeo.send(message(to: "juliet@example.org", "\(number)", id: "\(number)")) }
        server.settle()
        try romeo.expectNo()
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.takeBodies() == ["4", "5"])
        #expect(juliet.archive(server).bodies == ["0", "1", "4", "5"])
        await server.stop()
    }

    @Test func `an id that another device was told stays, though its message was refused (BUGS-NEXT A7)`() async throws
    {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let tablet = try server.login("romeo@example.org/tablet")
        try tablet.ask(server, "set", "<enable xmlns='urn:xmpp:carbons:2'/>")
        romeo.send(message(to: "nobody@example.org", "refused"))
        server.settle()
        let copy = try tablet.expect("<message>…</message>")
        let sent = copy.first("sent", .carbons)?.first("forwarded", .forwarded)?.first("message", .client)
        let id = try #require(sent?.archiveIDs(by: "romeo@example.org").first)
        romeo.send(message(to: "juliet@example.org", "taken"))
        server.settle()
        #expect(romeo.archive(server, set: "<after>\(id)</after>").bodies == ["taken"])
        let whole = romeo.archive(server)
        #expect(whole.bodies == ["taken"] && whole.results.count == 2)
        await server.stop()
    }

    @Test func `a message to oneself is recorded once, and found with one's own address (XEP-0313 §4.1.1)`()
        async throws
    {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        _ = try server.login("juliet@example.org/balcony")
        romeo.send(message(to: "romeo@example.org", "note"))
        romeo.send(message(to: "juliet@example.org", "other"))
        romeo.send("<message type='chat'><body>to nobody</body></message>")
        server.settle()
        #expect(romeo.archive(server).bodies == ["note", "other", "to nobody"])
        #expect(romeo.archive(server, ["with": "romeo@example.org"]).bodies == ["note", "to nobody"])
        #expect(romeo.archive(server, ["with": "romeo@example.org/other"]).bodies == ["note", "to nobody"])
        await server.stop()
    }

    @Test(arguments: [
        (
            "<message to='juliet@example.org' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            0
        ),
        ("<message to='juliet@example.org' type='headline'><body>news</body></message>", 0),
        ("<message to='juliet@example.org' type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>", 0),
        (
            "<message to='juliet@example.org' type='chat'><body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>",
            0
        ),
        ("<message to='juliet@example.org' type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>", 1),
        ("<message to='juliet@example.org'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>", 1),
        ("<message to='juliet@example.org' type='chat'><reactions xmlns='urn:xmpp:reactions:0' id='1'/></message>", 1),
        ("<message to='juliet@example.org' type='chat'><store xmlns='urn:xmpp:hints'/></message>", 1),
    ])
    func `what is archived follows from the classification (BUGS-NEXT A13)`(_ stanza: String, _ count: Int) async throws
    {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send(stanza)
        server.settle()
        #expect(romeo.archive(server).items.count == count)
        #expect(juliet.archive(server).items.count == count)
        await server.stop()
    }

    @Test func `results in a dead session's queue are dropped, not archived or delivered again (BUGS-NEXT A1)`()
        async throws
    {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony", management: true)
        for number in 0..<10 { romeo.send(message(to: "juliet@example.org", "\(number)")) }
        server.settle()
        juliet.acknowledge()
        juliet.send("<iq type='set' id='x'>\(archiveQuery())</iq>")
        server.settle()
        juliet.cut()
        server.advance(by: .seconds(3600))
        let again = try server.login("juliet@example.org/desk")
        try again.expectNo()
        #expect(again.archive(server).bodies == (0..<10).map(String.init))
        await server.stop()
    }

    @Test func `forged ids are taken out before ours is put in (BUGS-NEXT A10)`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        romeo.send(
            """
            <message to='juliet@example.org' type='chat'><body>x</body><stanza-id xmlns='urn:xmpp:sid:0'
            by='juliet@example.org' id='forged'/></message>
            """)
        server.settle()
        let live = try juliet.expect("<message>…</message>")
        let ids = live.archiveIDs(by: "juliet@example.org")
        #expect(ids.count == 1 && ids != ["forged"])
        #expect(juliet.archive(server).ids == ids)
        await server.stop()
    }

    @Test func `the next owner of a name starts with an empty archive (BUGS-NEXT A14)`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(message(to: "juliet@example.org", "private"))
        server.settle()
        await server.removeAccount("juliet@example.org")
        server.addAccount("juliet@example.org")
        let juliet = try server.login("juliet@example.org/balcony")
        #expect(juliet.archive(server).items.isEmpty)
        #expect(romeo.archive(server).bodies == ["private"])
        await server.stop()
    }

    @Test func `a stranger cannot read it, and cannot tell it from none`() async throws {
        let server = try await TestServer(archivingModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for (type, payload) in [
            ("set", archiveQuery()), ("get", "<query xmlns='urn:xmpp:mam:2'/>"),
            ("get", "<prefs xmlns='urn:xmpp:mam:2'/>"),
            ("get", "<metadata xmlns='urn:xmpp:mam:2'/>"), ("set", "<prefs xmlns='urn:xmpp:mam:2' default='never'/>"),
        ] {
            let known = romeo.refusal(server, type, payload, to: "juliet@example.org")
            #expect(known == romeo.refusal(server, type, payload, to: "nobody@example.org"))
            #expect(known == "forbidden")
        }
        await server.stop()
    }
}
