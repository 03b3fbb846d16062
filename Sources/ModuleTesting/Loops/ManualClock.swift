public import XMPPCore
public import XMPPServer

/// Time that stands still until it is told to go on: the one clock of all simulated loops.
public final class ManualClock: @unchecked Sendable {
    // Confined: only the thread that steps the loops moves it.
    public private(set) var now = Instant(nanoseconds: 1_000_000_000)
    /// Milliseconds since 1970 at the clock's beginning, some day in 2026.
    private static let epoch: Int64 = 1_780_000_000_000

    public init() {}

    /// Moves with `now`; never by itself.
    public var wallClock: Timestamp { Timestamp(milliseconds: Self.epoch + now.nanoseconds / 1_000_000) }

    public func advance(by duration: Duration) {
        advance(to: now.advanced(by: duration))
    }

    /// Never goes back.
    public func advance(to instant: Instant) {
        if now < instant { now = instant }
    }
}

/// Random numbers that are the same for the same seed (SplitMix64).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) {
        state = seed
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// 0 up to, but not, `bound`; the tiny bias does not matter here.
    public mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next() >> 1) % max(1, bound)
    }

    /// True once in `count` times.
    public mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }
}
