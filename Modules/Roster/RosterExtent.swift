internal import ModuleKit

/// How large a roster is, in all that has a limit; or by how much it grows.
struct RosterExtent: Hashable, Sendable {
    /// Contacts of the user.
    var items = 0
    /// Requests that wait for an answer.
    var requests = 0
    /// Of the items, as they are kept.
    var bytes = 0

    static func growth(of new: RosterItem, over old: RosterItem?) -> RosterExtent {
        of(new) - (old.map(of) ?? RosterExtent())
    }

    private static func of(_ item: RosterItem) -> RosterExtent {
        RosterExtent(
            items: item.isHidden ? 0 : 1, requests: item.request == nil ? 0 : 1,
            bytes: item.isHidden ? 0 : item.contact.description.utf8.count + item.ownText + 16)
    }

    static func + (left: RosterExtent, right: RosterExtent) -> RosterExtent {
        RosterExtent(
            items: left.items + right.items, requests: left.requests + right.requests, bytes: left.bytes + right.bytes)
    }

    static func - (left: RosterExtent, right: RosterExtent) -> RosterExtent {
        RosterExtent(
            items: left.items - right.items, requests: left.requests - right.requests, bytes: left.bytes - right.bytes)
    }
}

/// The limits of one account (RFC 6121 §2.3.3 leaves the numbers to the server).
struct RosterLimits: Hashable, Sendable {
    var items: Int
    /// All items together.
    var bytes: Int
    var requests: Int
    var groups: Int
    var name: Int

    /// Bytes of a request that are kept; of a larger one only that it was made. With the address at most three times as
    /// much is kept of each.
    static let longestRequest = 1024
}
