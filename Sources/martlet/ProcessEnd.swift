import Dispatch
import Foundation
import Logging
import Synchronization

/// The end of the process: who asked for it, and what becomes of it if it does not come.
final class ProcessEnd: Sendable {
    /// Two signals within this time are meant as one: a terminal and the script in it may both send theirs.
    private static let pause = Duration.milliseconds(300)

    private let log: Logger
    private let heard = Mutex<ContinuousClock.Instant?>(nil)
    private let orders: AsyncStream<Void>
    private let ordered: AsyncStream<Void>.Continuation

    init(log: Logger) {
        self.log = log
        (orders, ordered) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1))
    }

    /// Waits until the end is asked for. For one caller.
    func isWanted() async {
        for await _ in orders { return }
    }

    /// Asks for an end in order.
    func order() {
        ordered.yield()
    }

    /// A signal: the first asks for an end in order, the next one ends the process.
    func hear(_ number: Int32) {
        let now = ContinuousClock.now
        let isSecond = heard.withLock { heard in
            defer { heard = heard ?? now }
            return heard.map { now - $0 > Self.pause } ?? false
        }
        if isSecond { endNow(128 &+ number, "a second signal") } else { order() }
    }

    /// Ends the process if it has not ended by itself after this time.
    func limit(_ time: Duration) {
        DispatchQueue(label: "end").asyncAfter(deadline: .now() + .milliseconds(Int(time / .milliseconds(1)))) {
            self.endNow(1, "it took too long")
        }
    }

    /// Ends the process at once. All that it has acknowledged is on disk.
    private func endNow(_ code: Int32, _ reason: String) {
        log.error("stopped_at_once", metadata: ["reason": "\(reason)"])
        StandardError.flush(within: .milliseconds(100))
        _exit(code)
    }
}
