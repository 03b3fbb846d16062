internal import ModuleKit

/// An account's roster in memory; on the account's loop.
///
/// Packed as it is stored, sorted by address: with an object for each contact a session of fifty contacts would cost
/// three times as much. Who may see whom is read without unpacking anything.
final class Roster {
    struct Traits: OptionSet {
        let rawValue: UInt8

        /// The contact's presence is ours to see.
        static let to = Traits(rawValue: 1)
        /// Ours is the contact's.
        static let from = Traits(rawValue: 2)
        /// The contact has asked.
        static let request = Traits(rawValue: 4)
        /// Not in the roster that clients see.
        static let hidden = Traits(rawValue: 8)
        /// We have asked, and the contact has not answered.
        static let asking = Traits(rawValue: 16)

        var isNeeded: Bool { contains(.request) || !contains(.hidden) }
    }

    private struct Entry {
        var start: UInt32
        var length: UInt32
        /// Of it, the contact's address.
        var address: UInt16
        var traits: Traits
    }

    private var entries: ContiguousArray<Entry> = []
    private var text: ContiguousArray<UInt8> = []
    /// What is being changed, contact by contact.
    let turns = Turns()
    var versions: RosterVersions

    /// - Parameters:
    ///   - owner: whose roster it is.
    ///   - rows: ascending by the bytes of the key.
    init(of owner: OwnerID, rows: [(key: String, value: [UInt8])]) {
        versions = RosterVersions(owner: owner)
        entries.reserveCapacity(rows.count)
        text.reserveCapacity(rows.reduce(0) { $0 + $1.key.utf8.count + $1.value.count })
        for row in rows {
            if row.key.isEmpty {
                versions.restore(row.value)
            } else {
                load(row.key, row.value)
            }
        }
    }

    /// Contacts and requests.
    private(set) var count = 0
    /// Items that were removed and are remembered for clients that were away.
    var removedCount: Int { entries.count - count }
    /// Contacts and requests that are on their way to the disk.
    var adding = 0

    /// For one more, with those that are on their way.
    func hasRoom(_ limit: Int) -> Bool { count + adding < limit }

    // MARK: Reading

    subscript(_ contact: BareJID) -> RosterItem? {
        let place = place(of: contact)
        return place.isFound ? item(at: place.index) : nil
    }

    func traits(of contact: BareJID) -> Traits {
        let place = place(of: contact)
        return place.isFound ? entries[place.index].traits : .hidden
    }

    /// Calls the body with each contact of these traits; what the body changes does not show.
    func forEach(_ traits: Traits, _ body: (BareJID) -> Void) {
        let (entries, text) = (entries, text)
        for entry in entries where entry.traits.contains(traits) { body(Self.contact(entry, text)) }
    }

    /// All of it, by address, with what is hidden.
    var items: [RosterItem] { entries.indices.compactMap { item(at: $0) } }

    private func item(at index: Int) -> RosterItem? {
        let entry = entries[index]
        let contact = Self.contact(entry, text)
        return text.withUnsafeBufferPointer { text in
            let row = (Int(entry.start) + Int(entry.address))..<(Int(entry.start) + Int(entry.length))
            return RosterItem(contact, stored: UnsafeBufferPointer(rebasing: text[row]))
        }
    }

    private static func contact(_ entry: Entry, _ text: ContiguousArray<UInt8>) -> BareJID {
        let bytes = text[Int(entry.start)..<(Int(entry.start) + Int(entry.address))]
        guard let at = bytes.firstIndex(of: UInt8(ascii: "@")) else {
            return BareJID(canonicalLocal: "", domain: String(decoding: bytes, as: UTF8.self))
        }
        return BareJID(
            canonicalLocal: String(decoding: bytes[..<at], as: UTF8.self),
            domain: String(decoding: bytes[(at + 1)...], as: UTF8.self))
    }

    /// Where the contact stands, or would.
    private func place(of contact: BareJID) -> (index: Int, isFound: Bool) {
        let key = Array(contact.description.utf8)
        var (low, high) = (0, entries.count)
        while low < high {
            let middle = (low + high) / 2
            let entry = entries[middle]
            let bytes = text[Int(entry.start)..<(Int(entry.start) + Int(entry.address))]
            if bytes.elementsEqual(key) { return (middle, true) }
            if bytes.lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
        }
        return (low, false)
    }

    // MARK: Changing

    func put(_ item: RosterItem) {
        let place = place(of: item.contact)
        if place.isFound { remove(at: place.index) }
        insert(item, at: place.index)
        versions.saw(item.revision)
    }

    func remove(_ contact: BareJID) {
        let place = place(of: contact)
        if place.isFound { remove(at: place.index) }
    }

    /// A row as it was stored; one that is none of ours is passed over.
    private func load(_ key: String, _ value: [UInt8]) {
        let glance = value.withUnsafeBufferPointer { bytes -> (Traits, Int64)? in
            var fields = RosterFields(bytes)
            guard let glance = RosterGlance(&fields), let groups = fields.next().flatMap(RosterFields.number) else {
                return nil
            }
            for _ in 0..<groups where fields.next() == nil { return nil }
            var traits = Self.traits(glance.subscription, isHidden: glance.isHidden)
            if glance.isAsking { traits.insert(.asking) }
            if !fields.rest.isEmpty { traits.insert(.request) }
            return (traits, glance.revision)
        }
        guard let (traits, revision) = glance else { return }
        insert(key, value, traits, at: entries.count)
        versions.saw(revision)
    }

    private static func traits(_ subscription: RosterItem.Subscription, isHidden: Bool) -> Traits {
        var traits: Traits = isHidden ? .hidden : []
        if subscription.hasTo { traits.insert(.to) }
        if subscription.hasFrom { traits.insert(.from) }
        return traits
    }

    private func insert(_ item: RosterItem, at index: Int) {
        var traits = Self.traits(item.subscription, isHidden: item.isHidden)
        if item.request != nil { traits.insert(.request) }
        if item.isAsking { traits.insert(.asking) }
        insert(item.contact.description, item.stored, traits, at: index)
    }

    private func insert(_ key: String, _ stored: [UInt8], _ traits: Traits, at index: Int) {
        let start = text.count
        text.append(contentsOf: key.utf8)
        text.append(contentsOf: stored)
        if traits.isNeeded { count += 1 }
        entries.insert(
            Entry(
                start: UInt32(clamping: start), length: UInt32(clamping: text.count - start),
                address: UInt16(clamping: key.utf8.count), traits: traits), at: index)
    }

    private func remove(at index: Int) {
        let gone = entries.remove(at: index)
        if gone.traits.isNeeded { count -= 1 }
        text.removeSubrange(Int(gone.start)..<Int(gone.start + gone.length))
        for index in entries.indices where entries[index].start > gone.start {
            entries[index].start -= gone.length
        }
    }
}

/// A session that asked for the roster: it gets pushes (RFC 6121 §2.2).
final class RosterInterest {}

/// Changes of a roster that are under way: with one contact one after the other, each from its beginning until it is on
/// disk. So a change always begins with what is true, and none has to be taken back.
final class Turns {
    struct Turn {
        /// Of the account's own client; else something the contact sent.
        var isOwn: Bool
        /// Calls `Turns.done` in the end.
        var begin: () -> Void
    }

    /// Further changes than these, of all contacts, are refused: they come faster than the disk takes them.
    private static let most = 1000

    private var waiting: [BareJID: [Turn]] = [:]
    /// Changes under way or waiting.
    private var count = 0
    /// Contacts at whose account the first change waits to be written.
    private var away: Set<BareJID> = []

    var isFull: Bool { count >= Self.most }

    /// Begins now, or behind what is under way. What the contact sent goes before what our client wants next: the
    /// contact's account may wait for it, and must not wait for something that waits for that account.
    func take(_ contact: BareJID, _ turn: Turn) {
        count += 1
        guard let turns = waiting[contact], let first = turns.first else {
            waiting[contact] = [turn]
            return turn.begin()
        }
        let next = turn.isOwn ? nil : turns.dropFirst().firstIndex { $0.isOwn }
        waiting[contact] = [first] + turns[1..<(next ?? turns.count)] + [turn] + turns[(next ?? turns.count)...]
    }

    func done(_ contact: BareJID) {
        count -= 1
        waiting[contact]?.removeFirst()
        beginNext(contact)
    }

    /// The change under way is on its way to the contact's account.
    func left(for contact: BareJID) {
        away.insert(contact)
    }

    /// It is known what became of it.
    func returned(from contact: BareJID) {
        away.remove(contact)
    }

    func isAway(_ contact: BareJID) -> Bool { away.contains(contact) }

    /// The contact's account has a change for us that goes first, and that waits here.
    func giveWay(to contact: BareJID) {
        guard var turns = waiting[contact] else { return }
        if let index = turns.firstIndex(where: { !$0.isOwn }) {
            turns.insert(turns.remove(at: index), at: 0)
            waiting[contact] = turns
        }
        beginNext(contact)
    }

    private func beginNext(_ contact: BareJID) {
        guard let next = waiting[contact]?.first else {
            waiting[contact] = nil
            return
        }
        next.begin()
    }
}
