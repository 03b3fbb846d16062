internal import Glibc

/// Addresses that were read lately, by their bytes: most stanzas go where others went a moment ago, and reading an
/// address means checking every character of it, a hash and up to three allocations.
///
/// A table with one place for each hash; what falls on a taken place takes it. Bounded, and confined to one event loop.
public final class AddressCache {
    private static let places = 2048
    /// Longer ones are read each time.
    private static let longest = 128

    private struct Entry {
        var bytes: [UInt8]
        var address: JID
    }

    /// Made when the first address is read.
    private var entries: ContiguousArray<Entry?> = []

    public init() {}

    /// As `JID(utf8:)`.
    public func address(_ bytes: UnsafeBufferPointer<UInt8>) -> JID? {
        guard let base = bytes.baseAddress, bytes.count <= Self.longest else { return JID(utf8: bytes) }
        if entries.isEmpty { entries = ContiguousArray(repeating: nil, count: Self.places) }
        let place = Self.hash(base, bytes.count) & (Self.places - 1)
        if let entry = entries[place], Self.isSame(entry.bytes, bytes) { return entry.address }
        guard let address = JID(utf8: bytes) else { return nil }
        entries[place] = Entry(bytes: Array(bytes), address: address)
        return address
    }

    @inline(__always)
    private static func isSame(_ known: [UInt8], _ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard known.count == bytes.count, let base = bytes.baseAddress else { return false }
        return known.withUnsafeBufferPointer { memcmp($0.baseAddress ?? base, base, bytes.count) == 0 }
    }

    /// Somebody who chooses addresses that fall on one place wins nothing but that they are read each time.
    @inline(__always)
    private static func hash(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
        var hash = UInt64(truncatingIfNeeded: count) &* 0x9E37_79B9_7F4A_7C15
        var index = 0
        while index + 8 <= count {
            let word = UnsafeRawPointer(bytes + index).loadUnaligned(as: UInt64.self)
            hash = mixed(hash, word)
            index += 8
        }
        while index < count {
            hash = mixed(hash, UInt64(bytes[index]))
            index += 1
        }
        return Int(truncatingIfNeeded: hash >> 33)
    }

    @inline(__always)
    private static func mixed(_ hash: UInt64, _ word: UInt64) -> UInt64 {
        let product = (hash ^ word) &* 0xD6E8_FEB8_6659_FD93
        return product ^ product >> 32
    }
}
