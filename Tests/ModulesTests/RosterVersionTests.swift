import ModuleKit
import ModuleTesting
import StorageMemory
import Testing

/// RFC 6121 §2.6.
@Suite struct RosterVersionTests {
    private func get(_ version: String?) -> String {
        let version = version.map { " ver='\($0)'" } ?? ""
        return "<iq type='get' id='g'><query xmlns='jabber:iq:roster'\(version)/></iq>"
    }

    private func set(_ item: String) -> String {
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'>\(item)</query></iq>"
    }

    /// The answer to a roster get: its version and contacts; nil where the result is empty. And the pushes behind it.
    private func fetch(
        _ server: TestServer, _ client: TestClient, _ version: String?
    ) throws -> (roster: Element?, pushes: [Element]) {
        client.inbox = []
        client.send(get(version))
        server.settle()
        let result = try #require(client.inbox.first { $0[attribute: "id"] == "g" })
        #expect(result[attribute: "type"] == "result")
        #expect(client.inbox.first == result)
        let pushes = client.inbox.filter { $0[attribute: "type"] == "set" }.compactMap { $0.elements.first }
        return (result.elements.first, pushes)
    }

    private func contacts(_ query: Element?) -> [String] {
        (query?.elements ?? []).map { item in
            (item[attribute: "jid"] ?? "") + (item[attribute: "subscription"] == "remove" ? " removed" : "")
        }
    }

    @Test func `who has the current version gets nothing, and who has none gets everything`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for name in ["a", "b", "c"] { romeo.send(set("<item jid='\(name)@example.net'/>")) }
        server.settle()
        let full = try fetch(server, romeo, nil)
        let version = try #require(full.roster?[attribute: "ver"])
        #expect(contacts(full.roster) == ["a@example.net", "b@example.net", "c@example.net"])
        let same = try fetch(server, romeo, version)
        #expect(same.roster == nil)
        #expect(same.pushes.isEmpty)
        let old = version.split(separator: ".").dropFirst().joined(separator: ".")
        for other in ["", "nonsense", old, "99.1", version + "0", "-1", "1.1.-1", "1.1.99999999999999999999", "1.1."] {
            #expect(try contacts(fetch(server, romeo, other).roster).count == 3, "\(other)")
        }
        await server.stop()
    }

    @Test func `who was away gets what changed meanwhile, removals too, also after a restart`() async throws {
        var server = try await TestServer(standardModules)
        var romeo = try server.login("romeo@example.org/orchard")
        for index in 0..<10 { romeo.send(set("<item jid='c\(index)@example.net'/>")) }
        server.settle()
        let version = try #require(try fetch(server, romeo, nil).roster?[attribute: "ver"])
        romeo.send(set("<item jid='c3@example.net' name='Three'/>"))
        romeo.send(set("<item jid='c5@example.net' subscription='remove'/>"))
        romeo.send(set("<item jid='new@example.net'/>"))
        server.settle()
        for _ in 0..<2 {
            let missed = try fetch(server, romeo, version)
            #expect(missed.roster == nil)
            let changed = missed.pushes.map { contacts($0).joined() }
            #expect(changed == ["c3@example.net", "c5@example.net removed", "new@example.net"])
            // Each push brings its version, and with the last one the client is up to date.
            let last = try #require(missed.pushes.last?[attribute: "ver"])
            #expect(Set(missed.pushes.compactMap { $0[attribute: "ver"] }).count == 3)
            #expect(try fetch(server, romeo, last).pushes.isEmpty)
            server = try await TestServer(standardModules, memory: await server.stop())
            romeo = try server.login("romeo@example.org/orchard")
        }
        await server.stop()
    }

    @Test func `every push brings a version from which the next get goes on`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let first = try fetch(server, romeo, "")
        #expect(first.roster?[attribute: "ver"] != nil)
        romeo.inbox = []
        romeo.send(set("<item jid='a@example.net'/>"))
        server.settle()
        let push = try #require(romeo.inbox.first { $0[attribute: "type"] == "set" }?.elements.first)
        let version = try #require(push[attribute: "ver"])
        #expect(version != first.roster?[attribute: "ver"])
        #expect(try fetch(server, romeo, version).roster == nil)
        await server.stop()
    }

    @Test func `a version from before the oldest removal that is remembered brings everything`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        for index in 0..<10 { romeo.send(set("<item jid='keep\(index)@example.net'/>")) }
        server.settle()
        let version = try #require(try fetch(server, romeo, nil).roster?[attribute: "ver"])
        for index in 0..<120 {
            romeo.send(set("<item jid='gone\(index)@example.net'/>"))
            romeo.send(set("<item jid='gone\(index)@example.net' subscription='remove'/>"))
        }
        server.settle()
        let full = try fetch(server, romeo, version)
        #expect(contacts(full.roster).count == 10)
        let next = try await TestServer(standardModules, memory: await server.stop())
        let again = try next.login("romeo@example.org/orchard")
        #expect(try contacts(fetch(next, again, version).roster).count == 10)
        #expect(try fetch(next, again, full.roster?[attribute: "ver"]).roster == nil)
        await next.stop()
    }

    @Test func `the version of a removed account of the same name is none of the new one's`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        romeo.send(set("<item jid='a@example.net'/>"))
        server.settle()
        let version = try #require(try fetch(server, romeo, nil).roster?[attribute: "ver"])
        await server.removeAccount("romeo@example.org")
        server.addAccount("romeo@example.org")
        server.settle()
        let again = try server.login("romeo@example.org/orchard")
        let roster = try fetch(server, again, version).roster
        #expect(roster != nil)
        #expect(contacts(roster).isEmpty)
        await server.stop()
    }

    @Test func `a version from after a backup that was put back brings everything`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        func edit(_ server: TestServer, _ client: TestClient, _ names: [String]) throws -> String {
            for name in names { client.send(set("<item jid='\(name)@example.net'/>")) }
            server.settle()
            return try #require(try fetch(server, client, nil).roster?[attribute: "ver"])
        }
        let before = try edit(server, romeo, ["a", "b", "c"])
        let backup = server.memory.restored()
        // The client sees contacts that the backup does not have, and then the server goes back and goes on.
        let after = try edit(server, romeo, ["gone1", "gone2"])
        await server.stop()
        let next = try await TestServer(standardModules, memory: backup)
        let again = try next.login("romeo@example.org/orchard")
        let now = try edit(next, again, ["new1", "new2", "new3"])
        for version in [before, after] {
            let all = try fetch(next, again, version)
            #expect(contacts(all.roster) == ["a", "b", "c", "new1", "new2", "new3"].map { "\($0)@example.net" })
            #expect(all.pushes.isEmpty)
        }
        #expect(try fetch(next, again, now).roster == nil)
        await next.stop()
    }

    @Test func `a request alone is no part of the roster, and its end no news`() async throws {
        let server = try await TestServer(standardModules)
        let romeo = try server.login("romeo@example.org/orchard")
        let juliet = try server.login("juliet@example.org/balcony")
        let version = try #require(try fetch(server, romeo, nil).roster?[attribute: "ver"])
        juliet.send("<presence to='romeo@example.org' type='subscribe'/>")
        server.settle()
        let meanwhile = try fetch(server, romeo, version)
        #expect(meanwhile.roster == nil)
        #expect(meanwhile.pushes.isEmpty)
        romeo.send("<presence to='juliet@example.org' type='unsubscribed'/>")
        server.settle()
        #expect(try fetch(server, romeo, version).pushes.isEmpty)
        await server.stop()
    }
}
