import Testing
import XMPPServer

@testable import XMPPTransport

@Suite struct TimingWheelTests {
    private final class Target: TimerTarget {
        func timerFired(_ tag: Int) {}
    }

    private let target = Target()
    private static let millisecond: Int64 = 1_000_000

    private func time(_ milliseconds: Int64) -> Instant {
        Instant(nanoseconds: milliseconds * Self.millisecond)
    }

    private func due(_ wheel: inout TimingWheel, at milliseconds: Int64) -> [Int] {
        var tags: [Int] = []
        while let timer = wheel.popDue(now: time(milliseconds)) { tags.append(timer.tag) }
        return tags
    }

    @Test func `a timer fires not early and at most one tick late`() {
        var wheel = TimingWheel(now: time(5))
        _ = wheel.schedule(at: time(305), now: time(5), target, tag: 1)
        for now in stride(from: Int64(6), through: 304, by: 7) { #expect(due(&wheel, at: now).isEmpty) }
        #expect(due(&wheel, at: 405) == [1])
        #expect(wheel.count == 0)
        #expect(wheel.nextDeadline() == nil)
    }

    @Test func `a cancelled timer does not fire, and cancelling again or late does nothing`() {
        var wheel = TimingWheel(now: time(0))
        let first = wheel.schedule(at: time(100), now: time(0), target, tag: 1)
        let second = wheel.schedule(at: time(100), now: time(0), target, tag: 2)
        wheel.cancel(first)
        wheel.cancel(first)
        // Takes the place of the first; the old token must not reach it.
        let third = wheel.schedule(at: time(100), now: time(0), target, tag: 3)
        wheel.cancel(first)
        #expect(Set(due(&wheel, at: 200)) == [2, 3])
        wheel.cancel(second)
        wheel.cancel(third)
        #expect(wheel.count == 0)
    }

    @Test func `a timer that schedules itself does not hold up the loop`() {
        var wheel = TimingWheel(now: time(0))
        _ = wheel.schedule(at: time(100), now: time(0), target, tag: 1)
        var fired = 0
        while wheel.popDue(now: time(100)) != nil {
            fired += 1
            _ = wheel.schedule(at: time(0), now: time(100), target, tag: 1)
        }
        #expect(fired == 1)
        #expect(due(&wheel, at: 200) == [1])
    }

    @Test func `a timer may cancel others that are due at the same time`() {
        var wheel = TimingWheel(now: time(0))
        let tokens = (0..<10).map { wheel.schedule(at: time(100), now: time(0), target, tag: $0) }
        let first = wheel.popDue(now: time(500))
        #expect(first != nil)
        for (tag, token) in tokens.enumerated() where tag != first?.tag { wheel.cancel(token) }
        #expect(due(&wheel, at: 1000).isEmpty)
    }

    @Test func `a timer beyond one turn of the ring waits for its turn`() {
        var wheel = TimingWheel(now: time(0))
        let day: Int64 = 86_400_000
        _ = wheel.schedule(at: time(day), now: time(0), target, tag: 1)
        _ = wheel.schedule(at: time(500_000), now: time(0), target, tag: 2)
        #expect(due(&wheel, at: 409_700).isEmpty)
        #expect(due(&wheel, at: 500_100) == [2])
        #expect(due(&wheel, at: day - 1).isEmpty)
        #expect(due(&wheel, at: day) == [1])
    }

    @Test func `the wheel keeps a target until its timer is gone`() {
        weak var kept: Target?
        var wheel = TimingWheel(now: time(0))
        do {
            let target = Target()
            kept = target
            _ = wheel.schedule(at: time(100), now: time(0), target, tag: 1)
        }
        #expect(kept != nil)
        _ = due(&wheel, at: 100)
        #expect(kept == nil)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `random timers behave as a plain list of deadlines does`(seed: UInt64) {
        var random = SplitMix(seed: seed)
        var now: Int64 = .random(in: 0...1_000_000, using: &random)
        var wheel = TimingWheel(now: time(now))
        var model: [Int: (due: Int64, token: TimerToken)] = [:]
        var nextTag = 0
        for _ in 0..<2000 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                let deadline = now + .random(in: 0...(Bool.random(using: &random) ? 2000 : 1_000_000), using: &random)
                model[nextTag] = (deadline, wheel.schedule(at: time(deadline), now: time(now), target, tag: nextTag))
                nextTag += 1
            case 5..<7:
                guard let tag = model.keys.sorted().randomElement(using: &random) else { continue }
                wheel.cancel(model[tag]!.token)
                model[tag] = nil
            default:
                if let next = wheel.nextDeadline(), let first = model.values.map(\.due).min() {
                    #expect(next.nanoseconds <= (first + 100) * Self.millisecond)
                }
                now += .random(in: 0...(Bool.random(using: &random) ? 300 : 600_000), using: &random)
                for tag in due(&wheel, at: now) {
                    #expect(model[tag].map { $0.due <= now } == true)
                    model[tag] = nil
                }
                #expect(model.values.allSatisfy { $0.due > now - 100 })
            }
            #expect(wheel.count == model.count)
        }
    }
}

/// A small seeded generator, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
