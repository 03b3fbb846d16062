internal import Synchronization

/// A thread that looks for what is late, and sleeps while nothing waits: the other threads may all be waiting for the
/// disk themselves.
final class Timekeeper: @unchecked Sendable {
    // Confined: `monitor` guards `isClosed`.
    private let monitor = Monitor()
    private let isAwake = Atomic(false)
    private var isClosed = false
    private let interval: Duration

    init(interval: Duration) {
        self.interval = interval
    }

    /// To be called, without a lock that `hasWaiting` takes, after something began to wait.
    func wake() {
        // Whoever put it there did so under the lock under which the thread looks after it said that it sleeps.
        guard !isAwake.load(ordering: .relaxed) else { return }
        monitor.locked { monitor.signal() }
    }

    func close() {
        monitor.locked {
            isClosed = true
            monitor.signal()
        }
    }

    /// Runs until it is closed.
    func run(hasWaiting: () -> Bool, check: (_ now: UInt64) -> Void) {
        monitor.lock()
        while !isClosed {
            if hasWaiting() {
                isAwake.store(true, ordering: .relaxed)
                monitor.wait(atMost: interval)
                monitor.unlock()
                check(monotonicNow())
                monitor.lock()
            } else {
                isAwake.store(false, ordering: .relaxed)
                if !hasWaiting() { monitor.wait() }
            }
        }
        monitor.unlock()
    }
}
