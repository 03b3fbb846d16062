internal import ModuleKit

/// An account's roster in memory; on the account's loop.
///
/// Packed as it is stored, sorted by address: with an object for each contact a session of fifty contacts would cost
/// three times as much. Who may see whom is read without unpacking anything.
final class Roster: Weighed {
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
        /// Of it, the request, in sixteens of bytes.
        var request: UInt8

        /// Bytes that count for the user. A request does not count, and neither does the rest of a removed item.
        var size: Int { traits.contains(.hidden) ? 0 : max(0, Int(length) - Int(request) * 16) }
    }

    private var entries: ContiguousArray<Entry> = []
    private var text: ContiguousArray<UInt8> = []
    /// What is being changed, contact by contact.
    let turns = Turns()
    var versions: RosterVersions

    /// - Parameters:
    ///   - owner: whose roster it is.
    ///   - epoch: of the storage that the rows are from.
    ///   - rows: ascending by the bytes of the key.
    init(of owner: OwnerID, in epoch: StorageEpoch, rows: [(key: String, value: [UInt8])]) {
        versions = RosterVersions(owner: owner, in: epoch)
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

    /// Its size, in everything that has a limit.
    private(set) var extent = RosterExtent()
    /// Changes on their way to the disk.
    var coming = RosterExtent()
    /// Contacts and requests; without items that were removed and are remembered for clients that were away.
    private(set) var count = 0
    var removedCount: Int { entries.count - count }

    var byteCount: Int { text.capacity + entries.capacity * MemoryLayout<Entry>.stride + 512 }

    /// Whether an item may become this one, together with the changes under way. A change that makes it no larger
    /// always may.
    func hasRoom(for new: RosterItem, over old: RosterItem?, _ limits: RosterLimits) -> Bool {
        let growth = RosterExtent.growth(of: new, over: old)
        let all = extent + coming + growth
        let isEdit = old?.isHidden != false || new.ownText > (old?.ownText ?? 0)
        return (growth.items <= 0 || all.items <= limits.items)
            && (growth.requests <= 0 || all.requests <= limits.requests)
            && (!isEdit || growth.bytes <= 0 || all.bytes <= limits.bytes)
    }

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

    /// The first so many contacts of these traits behind this one.
    func contacts(_ traits: Traits, after contact: BareJID?, most: Int) -> [BareJID] {
        let place = contact.map { self.place(of: $0) }
        var found: [BareJID] = []
        for entry in entries[(place.map { $0.isFound ? $0.index + 1 : $0.index } ?? 0)...]
        where entry.traits.contains(traits) {
            found.append(Self.contact(entry, text))
            if found.count >= most { break }
        }
        return found
    }

    /// All of it, by address, with what is hidden.
    var items: [RosterItem] { entries.indices.compactMap { item(at: $0) } }

    /// Items that are remembered only for clients that were away.
    var removed: [RosterItem] {
        entries.indices.compactMap { entries[$0].traits.isNeeded ? nil : item(at: $0) }
    }

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
        struct Glance {
            let traits: Traits
            let revision: Int64
            let request: Int
        }
        let glance = value.withUnsafeBufferPointer { bytes -> Glance? in
            var fields = RosterFields(bytes)
            guard let glance = RosterGlance(&fields), let groups = fields.next().flatMap(RosterFields.number) else {
                return nil
            }
            for _ in 0..<groups where fields.next() == nil { return nil }
            var traits = Self.traits(glance.subscription, isHidden: glance.isHidden)
            if glance.isAsking { traits.insert(.asking) }
            if !fields.rest.isEmpty { traits.insert(.request) }
            return Glance(traits: traits, revision: glance.revision, request: fields.rest.count)
        }
        guard let glance else { return }
        insert(key, value, glance.traits, request: glance.request, at: entries.count)
        versions.saw(glance.revision)
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
        insert(item.contact.description, item.stored, traits, request: item.request?.count ?? 0, at: index)
    }

    private func insert(_ key: String, _ stored: [UInt8], _ traits: Traits, request: Int, at index: Int) {
        let start = text.count
        text.append(contentsOf: key.utf8)
        text.append(contentsOf: stored)
        let entry = Entry(
            start: UInt32(clamping: start), length: UInt32(clamping: text.count - start),
            address: UInt16(clamping: key.utf8.count), traits: traits, request: UInt8(clamping: (request + 15) / 16))
        count(entry, 1)
        entries.insert(entry, at: index)
    }

    private func count(_ entry: Entry, _ sign: Int) {
        if entry.traits.isNeeded { count += sign }
        extent.bytes += sign * entry.size
        if !entry.traits.contains(.hidden) { extent.items += sign }
        if entry.traits.contains(.request) { extent.requests += sign }
    }

    private func remove(at index: Int) {
        let gone = entries.remove(at: index)
        count(gone, -1)
        text.removeSubrange(Int(gone.start)..<Int(gone.start + gone.length))
        for index in entries.indices where entries[index].start > gone.start {
            entries[index].start -= gone.length
        }
    }
}

/// A session that asked for the roster: it gets pushes (RFC 6121 §2.2).
final class RosterInterest {}
