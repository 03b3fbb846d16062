internal import ModuleKit

/// The versions of one roster (RFC 6121 §2.6): each change that clients see has a number, and an item has that of its
/// last one. What a client missed are the items with numbers above that of the version it has.
///
/// A version is the storage's epoch, the owner's number and that of the change: none of another account of the same
/// name is taken for one of this, and none from after a backup that was put back for one from before.
struct RosterVersions {
    /// Removed items that are remembered, so that a client that was away hears that they are gone; each is an address
    /// and a few bytes.
    static let mostRemoved = 100

    private let epoch: StorageEpoch
    private let owner: OwnerID
    private(set) var last: Int64 = 0
    /// What was removed up to this one may be forgotten.
    private(set) var floor: Int64 = 0
    /// Given to changes that are not on disk yet.
    private var open: Set<Int64> = []

    init(owner: OwnerID, in epoch: StorageEpoch) {
        (self.epoch, self.owner) = (epoch, owner)
    }

    /// The first part of each version of this roster.
    private var prefix: String { "\(epoch).\(owner)." }

    /// All changes up to it are on disk and pushed; later ones may be as well.
    var current: Int64 { open.min().map { $0 - 1 } ?? last }

    var text: String { text(of: current) }

    /// The version in which this change was the last one.
    func text(of revision: Int64) -> String { "\(prefix)\(min(revision, current))" }

    /// The number of a version of this roster; nil: of no such, or of one that it has forgotten.
    func number(of text: String) -> Int64? {
        let prefix = prefix.utf8
        guard text.utf8.starts(with: prefix), let number = Int64(Substring(text.utf8.dropFirst(prefix.count))),
            number >= floor, number <= last
        else { return nil }
        return number
    }

    mutating func begin() -> Int64 {
        last += 1
        open.insert(last)
        return last
    }

    mutating func end(_ revision: Int64) {
        open.remove(revision)
    }

    mutating func saw(_ revision: Int64) {
        last = max(last, revision)
    }

    mutating func forgot(_ removed: RosterItem) {
        floor = max(floor, removed.revision)
    }

    // MARK: Stored, under the key that is no address

    static let key = ""

    var stored: [UInt8] { Array(String(floor).utf8) }

    mutating func restore(_ bytes: [UInt8]) {
        floor = Int64(String(decoding: bytes, as: UTF8.self)) ?? 0
        last = max(last, floor)
    }
}
