import Glibc

/// The clocks of a measurement, in nanoseconds.
enum Clock {
    /// Never goes back; what latencies and durations are taken from.
    static func now() -> UInt64 {
        read(CLOCK_MONOTONIC)
    }

    /// CPU time of this process, all threads.
    static func ownCPU() -> UInt64 {
        read(CLOCK_PROCESS_CPUTIME_ID)
    }

    static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        guard clock_gettime(clock, &time) == 0 else { return 0 }
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }

    static func sleep(seconds: Double) {
        usleep(UInt32(Swift.max(0, seconds) * 1e6))
    }
}

extension UInt64 {
    init(seconds: Double) {
        self = UInt64(Swift.max(0, seconds) * 1e9)
    }

    var seconds: Double { Double(self) / 1e9 }
}
