/// Names one life of a database. A backup that is put back undoes what came after it, and the numbers that were
/// given then are given again to other things.
///
/// **The rule for modules:** a number that a client keeps and brings back later, such as the version of a roster or the
/// id of an archived message, goes out together with the epoch, and one that comes back with another epoch is unknown.
/// No epoch is needed for numbers that live in memory only (sessions, stream management), are random (ids of streams and
/// resumptions), or are made of the content (hashes) or of the time of day (ids of waiting messages).
/// `docs/ARCHITECTURE.md` has the list.
///
/// An epoch never changes while the storage is open. Two epochs can be compared for equality, and there is no order.
public struct StorageEpoch: Hashable, Sendable, CustomStringConvertible {
    public let rawValue: Int64

    public init(_ rawValue: Int64) {
        self.rawValue = rawValue
    }

    /// At most 14 digits and lower-case letters.
    public var description: String { String(rawValue, radix: 36) }
}
