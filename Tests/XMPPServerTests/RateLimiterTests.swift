import ModuleKit
import Testing

@Suite struct RateLimiterTests {
    private func at(_ seconds: Int64) -> Timestamp { Timestamp(milliseconds: 1_000_000 + seconds * 1000) }

    @Test func `each has its share, and all together have theirs`() {
        let limiter = RateLimiter(perKey: 2, total: 5, span: .seconds(60))
        #expect((0..<3).map { _ in limiter.take("a", at: at(0)) } == [true, true, false])
        #expect((0..<3).map { _ in limiter.take("b", at: at(1)) } == [true, true, false])
        #expect(limiter.take("c", at: at(2)))
        #expect(!limiter.take("d", at: at(3)))
    }

    @Test func `counting begins anew when the time is over, or was set back`() {
        let limiter = RateLimiter(perKey: 1, total: 10, span: .seconds(60))
        #expect(limiter.take("a", at: at(0)))
        #expect(!limiter.take("a", at: at(59)))
        #expect(limiter.take("a", at: at(60)))
        #expect(!limiter.take("a", at: at(61)))
        #expect(limiter.take("a", at: at(10)))
    }

    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2"),
        ("2001:db8:1:2::9", "2001:db8:1:2"), ("2001:db8::1", "2001:db8:0:0"), ("::1", "0:0:0:0"),
    ])
    func `an IPv6 address counts as its network`(_ address: String, _ network: String) {
        #expect(PeerInfo(address: address, port: 1).network == network)
    }
}
