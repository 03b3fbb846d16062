import Synchronization
public import XMPPCore

/// How often something may be done in a span of time, by each and by all together.
public struct RateLimit: Hashable, Sendable {
    public let perKey: Int
    public let total: Int
    /// Milliseconds.
    let span: Int64

    public init(perKey: Int, total: Int, span: Duration) {
        self.perKey = perKey
        self.total = total
        // A year is as good as for ever.
        self.span = max(1, min(span.components.seconds, 366 * 86_400) * 1000)
    }
}

/// Counts something rare against limits that may change. Shared by the loops behind a lock, so not for what happens with
/// every stanza; kept in the `ProcessState`, so that a reload does not begin anew.
///
/// Limits of the same span count together. A span that was not asked about before begins with all that the others count.
/// Bounded by what all together may do, for so many spans.
public final class RateLimiter: Sendable {
    private struct Counts {
        var begin: Int64
        var total = 0
        var each: [String: Int] = [:]
        /// The turn in which it was asked last.
        var used = 0
    }

    private struct Tables {
        var bySpan: [Int64: Counts] = [:]
        var turn = 0
    }

    static let mostSpans = 8

    private let tables = Mutex(Tables())

    public init() {}

    /// False: once too often. Counting begins anew when a span is over; a clock that was set back begins a span too.
    public func take(_ key: String, within limit: RateLimit, at now: Timestamp) -> Bool {
        tables.withLock { tables in
            tables.turn += 1
            var counts: Counts
            if let known = tables.bySpan.removeValue(forKey: limit.span) {
                counts = known
            } else {
                counts = Self.inherited(&tables, at: now)
            }
            let age = now.milliseconds - counts.begin
            if age < 0 || age >= limit.span { counts = Counts(begin: now.milliseconds) }
            counts.used = tables.turn
            let count = counts.each[key, default: 0]
            let isAllowed = counts.total < limit.total && count < limit.perKey
            if isAllowed {
                counts.total += 1
                counts.each[key] = count + 1
            }
            tables.bySpan[limit.span] = counts
            return isAllowed
        }
    }

    /// What a new span begins with; the span that was asked about longest ago makes room for it.
    private static func inherited(_ tables: inout Tables, at now: Timestamp) -> Counts {
        var counts = Counts(begin: now.milliseconds)
        for (span, other) in tables.bySpan {
            let age = now.milliseconds - other.begin
            guard age >= 0, age < span else { continue }
            counts.total = max(counts.total, other.total)
            counts.each.merge(other.each) { max($0, $1) }
        }
        if tables.bySpan.count >= mostSpans, let oldest = tables.bySpan.min(by: { $0.value.used < $1.value.used }) {
            tables.bySpan[oldest.key] = nil
        }
        return counts
    }
}
