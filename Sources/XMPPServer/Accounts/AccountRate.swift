import ModuleKit

/// How fast an account may send: so many bytes a second, and after a pause so many at once. What is over is counted as
/// a debt that time pays off; nothing is refused.
final class AccountRate {
    private let rate: Int
    private let burst: Int
    /// When all that was sent would have been sent at the rate.
    private var even = Instant(nanoseconds: 0)

    init(_ rate: Int, burst: Int) {
        self.rate = max(1, rate)
        self.burst = max(0, burst)
    }

    func isSame(_ rate: Int, burst: Int) -> Bool { rate == self.rate && burst == self.burst }

    /// No debt takes longer than this, so that no sum overflows.
    private static let longest: Int64 = 100 * 86_400 * 1_000_000_000

    private func time(for bytes: Int) -> Int64 {
        let (product, overflows) = Int64(bytes).multipliedReportingOverflow(by: 1_000_000_000)
        return overflows ? Self.longest : min(product / Int64(rate), Self.longest)
    }

    func spend(_ bytes: Int, _ now: Instant) {
        let start = max(even.nanoseconds, now.nanoseconds)
        even.nanoseconds = min(start + time(for: bytes), now.nanoseconds + Self.longest)
    }

    /// How long the next byte has to wait; nil: it may come.
    func delay(_ now: Instant) -> Duration? {
        let over = even.nanoseconds - now.nanoseconds - time(for: burst)
        return over > 0 ? .nanoseconds(over) : nil
    }
}
