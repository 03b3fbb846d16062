/// Which of a client's stanzas are safe, so that no more is acknowledged than would survive (XEP-0198 §4).
///
/// Every stanza that arrives opens an obligation, whoever keeps or delivers it closes it, in any order; what may be
/// acknowledged is the longest run from the first one without a gap. Costs nothing while obligations close in order;
/// otherwise one bit for each between the gap and the newest.
public struct ReceivedLedger: Hashable, Sendable {
    /// Stanzas received and stanzas in the closed run, counted from the beginning of the session.
    private var receivedCount: UInt64 = 0
    private var closedCount: UInt64 = 0
    /// A bit for each closed obligation behind the gap, by its count modulo the size, which is a power of two.
    private var bits: [UInt64] = []
    private let limit: Int

    /// - Parameter limit: open obligations at which `isFull` asks for a pause.
    public init(limit: Int = 1024) {
        self.limit = max(1, limit)
    }

    /// All stanzas that arrived, modulo 2^32.
    public var received: UInt32 { UInt32(truncatingIfNeeded: receivedCount) }
    /// What may be acknowledged.
    public var durableH: UInt32 { UInt32(truncatingIfNeeded: closedCount) }
    /// Stanzas that cannot be acknowledged yet.
    public var openCount: Int { Int(truncatingIfNeeded: receivedCount - closedCount) }
    /// Take no more stanzas until some obligation closes. A burst beyond it still counts right.
    public var isFull: Bool { openCount >= limit }

    /// A stanza arrived: the sequence number that closes its obligation.
    public mutating func receive() -> UInt32 {
        let sequence = received
        receivedCount += 1
        return sequence
    }

    /// The stanza needs no keeping, or is kept. True: `durableH` has advanced. Numbers that are not open are ignored.
    public mutating func close(_ sequence: UInt32) -> Bool {
        let ahead = Int(sequence &- durableH)
        guard ahead < openCount else { return false }
        if ahead > 0 {
            reserve(ahead + 1)
            set(closedCount + UInt64(ahead))
            return false
        }
        closedCount += 1
        while closedCount < receivedCount, take(closedCount) { closedCount += 1 }
        if closedCount == receivedCount, bits.count > 4 { bits = [] }
        return true
    }

    /// The client was told no more than the closed run, and sends all behind it again, under the same numbers.
    public mutating func rewind() {
        receivedCount = closedCount
        bits = []
    }

    private mutating func reserve(_ window: Int) {
        guard window > bits.count * 64 else { return }
        var words = max(1, bits.count)
        while words * 64 < window { words *= 2 }
        let old = bits
        bits = [UInt64](repeating: 0, count: words)
        guard !old.isEmpty else { return }
        for offset in 0..<UInt64(old.count * 64) {
            let count = closedCount + offset
            let bit = Int(truncatingIfNeeded: count) & (old.count * 64 - 1)
            if old[bit >> 6] & (1 << UInt64(bit & 63)) != 0 { set(count) }
        }
    }

    private mutating func set(_ count: UInt64) {
        let bit = Int(truncatingIfNeeded: count) & (bits.count * 64 - 1)
        bits[bit >> 6] |= 1 << UInt64(bit & 63)
    }

    /// Whether the bit was set; it is not any more.
    private mutating func take(_ count: UInt64) -> Bool {
        guard !bits.isEmpty else { return false }
        let bit = Int(truncatingIfNeeded: count) & (bits.count * 64 - 1)
        let mask: UInt64 = 1 << UInt64(bit & 63)
        guard bits[bit >> 6] & mask != 0 else { return false }
        bits[bit >> 6] &= ~mask
        return true
    }
}
