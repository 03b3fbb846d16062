import ModuleKit
import Testing

@testable import Blocking

/// XEP-0191 §5: the blocklist as a part of a privacy list, without a server.
@Suite struct BlocklistTests {
    private let romeo = JID("romeo@example.net")!
    private let tybalt = JID("tybalt@example.net")!
    private let room = JID("room@conference.example.net/nick")!

    private func deny(_ order: UInt32, _ address: JID) -> PrivacyItem {
        PrivacyItem(order: order, .address(address), isDenial: true)
    }

    private func allow(_ order: UInt32, _ address: JID, _ kinds: PrivacyItem.Kinds = .all) -> PrivacyItem {
        PrivacyItem(order: order, .address(address), isDenial: false, kinds: kinds)
    }

    private func blocked(_ items: [PrivacyItem]) -> [JID] {
        Blocklist.blocked(in: RuleTable(items)) { _ in RuleTable.Relation(subscription: .none, groups: []) }
    }

    @Test func `what is blocked comes first, in the order in which it was blocked`() {
        let anybody = PrivacyItem(order: 9, .anybody, isDenial: false)
        let first = Blocklist(RuleTable([anybody])).blocking([romeo, tybalt, romeo])
        #expect(first == [deny(1, romeo), deny(2, tybalt), PrivacyItem(order: 3, .anybody, isDenial: false)])
        let second = Blocklist(RuleTable(first)).blocking([room])
        #expect(second.map(\.blocked) == [romeo, tybalt, room, nil])
        #expect(blocked(second) == [romeo, tybalt, room])
    }

    @Test func `an address that another item lets through is not blocked, until it is blocked by this protocol`() {
        let list = [allow(1, romeo, .init(.message)), deny(2, romeo), deny(3, tybalt)]
        #expect(blocked(list) == [tybalt])
        let after = Blocklist(RuleTable(list)).blocking([romeo])
        #expect(blocked(after) == [romeo, tybalt])
        #expect(after.count == 3)
    }

    @Test func `unblocking takes out what blocks the address and leaves all else`() {
        let list = [
            deny(1, romeo), PrivacyItem(order: 2, .address(romeo), isDenial: true, kinds: .init(.message)),
            deny(5, tybalt), PrivacyItem(order: 7, .anybody, isDenial: false),
        ]
        let blocklist = Blocklist(RuleTable(list))
        #expect(blocklist.unblocking([romeo]).map(\.order) == [2, 5, 7])
        #expect(blocklist.unblocking([room]).map(\.order) == [1, 2, 5, 7])
        #expect(blocklist.unblocking(nil).map(\.order) == [2, 7])
        #expect(Blocklist(nil).unblocking(nil).isEmpty)
    }
}
