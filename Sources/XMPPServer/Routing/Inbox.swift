import ModuleKit

/// How much may wait for something that is being read.
struct InboxLimits: Hashable, Sendable {
    var stanzas: Int
    var bytes: Int
    /// Of all inboxes of a loop.
    var total: Int
}

/// Stanzas that wait while their addressee is read from disk, in order. Bounded in number and in bytes, and
/// in bytes together with all other inboxes of the loop.
struct Inbox<Waiting> {
    private var waiting: [Waiting] = []
    private var bytes = 0

    var isEmpty: Bool { waiting.isEmpty }
    var count: Int { waiting.count }

    /// False: there is no room.
    mutating func append(_ item: Waiting, _ size: Int, in shard: Shard) -> Bool {
        let limits = shard.settings.inbox
        guard waiting.count < limits.stanzas, bytes + size <= limits.bytes, shard.inboxBytes + size <= limits.total
        else { return false }
        waiting.append(item)
        bytes += size
        shard.inboxBytes += size
        return true
    }

    mutating func takeAll(in shard: Shard) -> [Waiting] {
        defer {
            shard.inboxBytes -= bytes
            bytes = 0
            waiting = []
        }
        return waiting
    }
}
