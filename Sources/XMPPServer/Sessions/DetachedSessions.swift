import ModuleKit
import XMPPStream

/// The sessions of one loop that wait to be resumed, and what waits for their clients in memory. Over a bound the oldest
/// ends: its messages are on disk and stay there for the next login.
struct DetachedSessions {
    private var sessions: [UInt64: ClientSession] = [:]
    /// Their numbers in the order in which they lost their connections; some have gone since.
    private var order: [UInt64] = []
    private var last: UInt64 = 0
    private(set) var bytes = 0

    var count: Int { sessions.count }

    mutating func add(_ session: ClientSession) {
        guard session.detachment == nil, !session.hasEnded else { return }
        last += 1
        session.detachment = (last, 0)
        sessions[last] = session
        order.append(last)
        grew(session)
    }

    mutating func remove(_ session: ClientSession) {
        guard let (number, weight) = session.detachment else { return }
        session.detachment = nil
        sessions[number] = nil
        bytes -= weight
        if order.count > 2 * sessions.count + 64 { order.removeAll { sessions[$0] == nil } }
    }

    /// More waits for this one.
    mutating func grew(_ session: ClientSession) {
        guard let (number, weight) = session.detachment else { return }
        let now = session.outstanding?.queue.byteCount ?? 0
        session.detachment = (number, now)
        bytes += now - weight
        evict(session)
    }

    /// Those of one account go first if it has more than its part.
    private mutating func evict(_ session: ClientSession) {
        let settings = session.shard.settings
        let own = session.localAccount.sessionList.reduce(0) { $0 + ($1.detachment?.bytes ?? 0) }
        var excess = own - 2 * settings.streamManagement.queueBytes
        if excess > 0 { evict(&excess) { $0.localAccount === session.localAccount } }
        excess = bytes - settings.detachedBytes
        if excess > 0 { evict(&excess) { _ in true } }
    }

    private mutating func evict(_ excess: inout Int, _ isMeant: (ClientSession) -> Bool) {
        for number in order {
            guard excess > 0 else { return }
            guard let session = sessions[number], isMeant(session) else { continue }
            excess -= session.detachment?.bytes ?? 0
            remove(session)
            session.shard.counts.evicted += 1
            // Not within a fan-out that walks over the account's sessions.
            session.shard.loop.defer_ { if !session.isConnected { session.end(.timedOut) } }
        }
    }
}
