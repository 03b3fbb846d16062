/// Latencies in nanoseconds, counted in buckets whose width is below 1.6 % of their value.
struct Histogram {
    private static let precision = 6
    private static let groups = 40

    private var counts = [UInt32](repeating: 0, count: groups << precision)
    private(set) var count = 0
    private(set) var maximum: UInt64 = 0

    mutating func record(_ nanoseconds: UInt64) {
        counts[min(Self.bucket(of: nanoseconds), counts.count - 1)] &+= 1
        count += 1
        if nanoseconds > maximum { maximum = nanoseconds }
    }

    mutating func merge(_ other: Histogram) {
        for index in counts.indices { counts[index] &+= other.counts[index] }
        count += other.count
        maximum = max(maximum, other.maximum)
    }

    /// The latency that this share (0...1) of all did not exceed; 0 when nothing was recorded.
    func percentile(_ share: Double) -> UInt64 {
        let rank = max(1, Int((share * Double(count)).rounded(.up)))
        var seen = 0
        for (index, number) in counts.enumerated() where number > 0 {
            seen += Int(number)
            if seen >= rank { return min(Self.upperEnd(of: index), maximum) }
        }
        return maximum
    }

    private static func bucket(of value: UInt64) -> Int {
        let size = 1 << precision
        guard value >= UInt64(size) else { return Int(value) }
        let shift = 63 - value.leadingZeroBitCount - precision
        return (shift + 1) << precision + Int(value >> UInt64(shift)) - size
    }

    private static func upperEnd(of bucket: Int) -> UInt64 {
        let size = 1 << precision
        guard bucket >= size else { return UInt64(bucket) }
        let shift = bucket >> precision - 1
        return UInt64(bucket & (size - 1) + size + 1) << UInt64(shift) - 1
    }
}
