import Synchronization
public import XMPPCore

/// How often something rare may be done, by each and by all together, in a span of time. Shared by the loops behind a
/// lock, so not for what happens with every stanza. Its table is bounded by what all together may do.
public final class RateLimiter: Sendable {
    private struct Counts {
        var begin: Int64 = 0
        var total = 0
        var each: [String: Int] = [:]
    }

    private let perKey: Int
    private let total: Int
    private let span: Int64
    private let counts = Mutex(Counts())

    public init(perKey: Int, total: Int, span: Duration) {
        self.perKey = perKey
        self.total = total
        // A year is as good as for ever.
        self.span = max(1, min(span.components.seconds, 366 * 86_400) * 1000)
    }

    /// False: once too often. Counting begins anew when a span is over; a clock that was set back begins a span too.
    public func take(_ key: String, at now: Timestamp) -> Bool {
        counts.withLock { counts in
            let age = now.milliseconds - counts.begin
            if age < 0 || age >= span { counts = Counts(begin: now.milliseconds) }
            let count = counts.each[key, default: 0]
            guard counts.total < total, count < perKey else { return false }
            counts.total += 1
            counts.each[key] = count + 1
            return true
        }
    }
}
