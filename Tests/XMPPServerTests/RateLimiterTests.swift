import ModuleKit
import Testing

@Suite struct RateLimiterTests {
    private func at(_ seconds: Int64) -> Timestamp { Timestamp(milliseconds: 1_000_000 + seconds * 1000) }

    @Test func `each has its share, and all together have theirs`() {
        let (limiter, limit) = (RateLimiter(), RateLimit(perKey: 2, total: 5, span: .seconds(60)))
        #expect((0..<3).map { _ in limiter.take("a", within: limit, at: at(0)) } == [true, true, false])
        #expect((0..<3).map { _ in limiter.take("b", within: limit, at: at(1)) } == [true, true, false])
        #expect(limiter.take("c", within: limit, at: at(2)))
        #expect(!limiter.take("d", within: limit, at: at(3)))
    }

    @Test func `counting begins anew when the time is over, or was set back`() {
        let (limiter, limit) = (RateLimiter(), RateLimit(perKey: 1, total: 10, span: .seconds(60)))
        #expect(limiter.take("a", within: limit, at: at(0)))
        #expect(!limiter.take("a", within: limit, at: at(59)))
        #expect(limiter.take("a", within: limit, at: at(60)))
        #expect(!limiter.take("a", within: limit, at: at(61)))
        #expect(limiter.take("a", within: limit, at: at(10)))
    }

    @Test func `other numbers for the same span go on with what was counted`() {
        let limiter = RateLimiter()
        func take(_ key: String, _ perKey: Int, _ total: Int = 10) -> Bool {
            limiter.take(key, within: RateLimit(perKey: perKey, total: total, span: .seconds(60)), at: at(0))
        }
        #expect(take("a", 1))
        #expect(!take("a", 1))
        #expect(take("a", 2))
        #expect(!take("a", 2))
        #expect(!take("b", 2, 2))
        #expect(take("b", 2, 3))
    }

    @Test func `another span goes on with what was counted, and the spans do not disturb each other`() {
        let limiter = RateLimiter()
        let (minute, hour) = (
            RateLimit(perKey: 1, total: 10, span: .seconds(60)), RateLimit(perKey: 1, total: 10, span: .seconds(3600))
        )
        #expect(limiter.take("a", within: minute, at: at(0)))
        #expect(!limiter.take("a", within: hour, at: at(30)))
        #expect(limiter.take("b", within: hour, at: at(30)))
        // Over for the one is not over for the other.
        #expect(limiter.take("a", within: minute, at: at(70)))
        #expect(!limiter.take("a", within: hour, at: at(71)))
        #expect(limiter.take("a", within: hour, at: at(3631)))
    }

    @Test func `spans without end are not kept`() {
        let limiter = RateLimiter()
        func take(_ key: String, _ seconds: Int, at time: Int64) -> Bool {
            limiter.take(
                key, within: RateLimit(perKey: 1, total: 1000, span: .seconds(seconds)), at: at(time))
        }
        for seconds in 100..<200 { _ = take("a", seconds, at: 0) }
        // What was counted has come along to the last of them all the same.
        #expect(!take("a", 200, at: 1))
        #expect(take("b", 200, at: 1))
    }

    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2"),
        ("2001:db8:1:2::9", "2001:db8:1:2"), ("2001:db8::1", "2001:db8:0:0"), ("::1", "0:0:0:0"),
    ])
    func `an IPv6 address counts as its network`(_ address: String, _ network: String) {
        #expect(PeerInfo(address: address, port: 1).network == network)
    }
}
