import Messages
import ModuleKit
import ModuleTesting
import Roster
import Testing

@testable import XMPPServer

/// Inboxes of accounts that are not in memory, and the memory of unused accounts, are bounded in bytes.
@Suite struct InboxTests {
    @Test func `an inbox is bounded in number, in bytes, and with all others of its loop`() async throws {
        let server = try await TestServer([]) { config in
            config.accounts = AccountsConfig(cache: 3000, inbox: 3, inboxBytes: 1000)
        }
        let shard = server.server.shards[0]
        // Half of the cache is this loop's.
        #expect(shard.settings.inbox == InboxLimits(stanzas: 3, bytes: 1000, total: 1500))
        var (first, second) = (Inbox<Int>(), Inbox<Int>())
        let firsts = [(1, 600), (2, 401), (3, 400)].map { first.append($0.0, $0.1, in: shard) }
        #expect(firsts == [true, false, true])
        let seconds = [(4, 501), (5, 1), (6, 1), (7, 1), (8, 1)].map { second.append($0.0, $0.1, in: shard) }
        #expect(seconds == [false, true, true, true, false])
        let taken = first.takeAll(in: shard)
        #expect(taken == [1, 3])
        #expect(first.isEmpty)
        #expect(shard.inboxBytes == 3)
        let others = second.takeAll(in: shard)
        #expect(others == [5, 6, 7])
        #expect(shard.inboxBytes == 0)
        let isTaken = first.append(1, 1000, in: shard)
        #expect(isTaken)
        _ = first.takeAll(in: shard)
        await server.stop()
    }

    @Test func `what is too much for an account that is being read goes back`() async throws {
        let server = try await TestServer([MessagesModule.self], loops: 1) { $0.accounts.inboxBytes = 64 << 10 }
        let romeo = try server.login("romeo@example.org/orchard")
        let sender = try #require(romeo.address)
        let addressee = try #require(BareJID("nobody@example.org"))
        let body = Element("body", .client, [:], String(repeating: "x", count: 20_000))
        let message = Stanza(Element("message", .client, ["type": "chat", "id": "m"], body))
        let shard = server.server.shards[0]
        // In one turn, so that nothing is read in between.
        shard.loop.post(
            .work { for _ in 0..<5 { shard.route(Envelope(message.with(from: sender, to: JID(addressee)))) } })
        server.settle()
        let conditions = romeo.inbox.compactMap { $0.first("error", .client)?.elements.first?.name }
        #expect(conditions.count { $0 == "resource-constraint" } == 2)
        #expect(conditions.count { $0 == "service-unavailable" } == 3)
        #expect(shard.inboxBytes == 0)
        await server.stop()
    }

    /// Eight accounts with rosters of a hundred kilobytes are too much for half a megabyte; as many small ones are not.
    @Test(arguments: [true, false])
    func `accounts that nobody uses are kept by what they weigh`(_ isHeavy: Bool) async throws {
        let names = (0..<8).map { "u\($0)" }
        let server = try await TestServer([RosterModule.self], accounts: names, loops: 1) {
            $0.accounts.cache = 1 << 19
        }
        for name in names {
            let client = try server.login("\(name)@example.org/x")
            for index in 0..<(isHeavy ? 100 : 1) {
                let text = String(repeating: "n", count: 1000)
                client.send(
                    """
                    <iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='c\(index)@example.net' \
                    name='\(text)'/></query></iq>
                    """)
            }
            server.settle()
            client.end()
            server.settle()
        }
        let shard = server.server.shards[0]
        #expect(isHeavy ? (2...5).contains(server.counts.accounts) : server.counts.accounts == 8)
        #expect(shard.idleAccounts.bytes <= 1 << 19)
        #expect(shard.idleAccounts.count == server.counts.accounts)
        // An account that comes again and again is in the list once.
        for _ in 0..<20 {
            let again = try server.login("u7@example.org/x")
            again.end()
            server.settle()
        }
        #expect(shard.idleAccounts.count == server.counts.accounts)
        server.advance(by: .seconds(120))
        #expect(server.counts.accounts == 0)
        #expect(shard.idleAccounts.bytes == 0)
        await server.stop()
    }
}
