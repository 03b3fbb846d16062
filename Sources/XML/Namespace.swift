internal import Glibc
internal import Synchronization

/// An XML namespace that the program knew when it was loaded: a small number instead of a string.
///
/// Only code makes namespaces; what a peer sends is looked up and never added, so the table cannot be poisoned.
public struct Namespace: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    /// Its place in the table; stable for the life of the process.
    public let id: UInt16

    @inlinable
    init(id: UInt16) {
        self.id = id
    }

    /// The namespace of that name, added to the table when it is new.
    ///
    /// For constants of code: the table holds 4,096 and never shrinks.
    public init(_ uri: String) {
        id = NamespaceTable.shared.intern(uri)
    }

    public init(stringLiteral uri: String) {
        self.init(uri)
    }

    /// The namespace of that name if code has made it; nil for everybody else's.
    public static func known(_ uri: UnsafeBufferPointer<UInt8>) -> Namespace? {
        guard let base = uri.baseAddress else { return Namespace.empty }
        return NamespaceTable.shared.find(base, uri.count).map(Namespace.init(id:))
    }

    /// The namespace of that name if code has made it; nil for everybody else's.
    public static func known(_ uri: String) -> Namespace? {
        var uri = uri
        return uri.withUTF8 { known($0) }
    }

    public var uri: String { NamespaceTable.shared.entries[Int(id)].uri }

    /// The bit that says "something of this namespace is here". Above 64 namespaces bits are shared: a set bit is a
    /// reason to look, a clear one a proof of absence.
    @inlinable
    public var bit: UInt64 { 1 << UInt64(id & 63) }

    public var description: String { uri }
}

/// All namespaces of the process: written under a lock, read without one.
///
/// An entry is complete before its slot is published, and neither ever changes again.
final class NamespaceTable: @unchecked Sendable {
    struct Entry {
        let bytes: UnsafePointer<UInt8>
        let count: Int
        let hash: UInt32
        let uri: String
    }

    static let shared = NamespaceTable()
    static let capacity = 4096
    private static let slotMask = 8191

    let entries: UnsafeMutablePointer<Entry>
    private let slots: UnsafeMutablePointer<Atomic<UInt16>>
    private let count = Mutex(0)

    private init() {
        entries = .allocate(capacity: Self.capacity)
        slots = .allocate(capacity: Self.slotMask + 1)
        for index in 0...Self.slotMask {
            (slots + index).initialize(to: Atomic(0))
        }
        for uri in Namespace.wellKnown {
            _ = intern(uri)
        }
    }

    func intern(_ uri: String) -> UInt16 {
        var uri = uri
        return uri.withUTF8 { bytes in
            // The empty name may have no address; any will do.
            let base = bytes.baseAddress ?? UnsafePointer(UnsafeMutablePointer<UInt8>.allocate(capacity: 1))
            let count = bytes.count
            return self.count.withLock { used in
                if let id = find(base, count) { return id }
                precondition(used < Self.capacity, "more than \(Self.capacity) namespaces in code")
                let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: count + 1)
                copy.update(from: base, count: count)
                copy[count] = 0
                let hash = Self.hash(base, count)
                let text = String(decoding: UnsafeBufferPointer(start: copy, count: count), as: UTF8.self)
                (entries + used).initialize(to: Entry(bytes: copy, count: count, hash: hash, uri: text))
                var slot = Int(hash) & Self.slotMask
                while slots[slot].load(ordering: .relaxed) != 0 { slot = (slot + 1) & Self.slotMask }
                used += 1
                slots[slot].store(UInt16(used), ordering: .releasing)
                return UInt16(used - 1)
            }
        }
    }

    func find(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt16? {
        let hash = Self.hash(bytes, count)
        var slot = Int(hash) & Self.slotMask
        while true {
            let id = slots[slot].load(ordering: .acquiring)
            if id == 0 { return nil }
            let entry = entries + Int(id - 1)
            let isAlike = entry.pointee.hash == hash && entry.pointee.count == count
            if isAlike, memcmp(entry.pointee.bytes, bytes, count) == 0 { return id - 1 }
            slot = (slot + 1) & Self.slotMask
        }
    }

    /// Length and the last sixteen bytes: names of namespaces differ at their ends, and the time stays bounded.
    private static func hash(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt32 {
        var high: UInt64 = 0
        var low: UInt64 = 0
        let raw = UnsafeRawPointer(bytes)
        if count >= 16 {
            high = raw.loadUnaligned(fromByteOffset: count - 16, as: UInt64.self)
            low = raw.loadUnaligned(fromByteOffset: count - 8, as: UInt64.self)
        } else {
            for index in 0..<count {
                (high, low) = (high << 8 | low >> 56, low << 8 | UInt64(bytes[index]))
            }
        }
        var mixed = (high ^ UInt64(count)) &* 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ low ^ (mixed >> 29)) &* 0xBF58_476D_1CE4_E5B9
        return UInt32(truncatingIfNeeded: mixed >> 32)
    }
}
