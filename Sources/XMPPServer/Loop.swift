public import ModuleKit

/// A point in monotonic time, in nanoseconds since an arbitrary start; never goes back.
public struct Instant: Hashable, Sendable, Comparable {
    public var nanoseconds: Int64

    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    public func advanced(by duration: Duration) -> Instant {
        let parts = duration.components
        return Instant(nanoseconds: nanoseconds &+ parts.seconds &* 1_000_000_000 &+ parts.attoseconds / 1_000_000_000)
    }
}

/// What a timer calls. The tag tells a target with several timers which one it was.
public protocol TimerTarget: AnyObject {
    func timerFired(_ tag: Int)
}

/// Names a scheduled timer; cancelling one that has fired does nothing.
public struct TimerToken: Hashable, Sendable {
    public let id: UInt64

    public init(id: UInt64) {
        self.id = id
    }
}

/// One event loop: the only place where the state it owns may be touched (DESIGN: ownership). The NIO transport
/// implements it, and so does the seeded simulator.
public protocol Loop: AnyObject, Sendable {
    var index: Int { get }
    /// Monotonic; cached per turn at the implementation's choice, at most a few milliseconds old.
    var now: Instant { get }
    /// Wall-clock time, for stamps only.
    var wallClock: Timestamp { get }

    /// Delivers mail to this loop, from any thread. Mail of one sending loop arrives in the order it was posted.
    func post(_ mail: Mail)

    /// Runs `target.timerFired(tag)` on this loop, not before `delay` has passed and at most one wheel tick (100 ms)
    /// late. Only on this loop. The wheel keeps the target alive until the timer fires or is cancelled.
    func schedule(after delay: Duration, _ target: any TimerTarget, tag: Int) -> TimerToken
    func cancel(_ token: TimerToken)

    /// Runs `work` at the end of this turn, behind all that is being handled now. Only on this loop.
    func defer_(_ work: @escaping () -> Void)

    /// Runs `work` when the loop has looked after its sockets and what else waits. Only on this loop.
    func later(_ work: @escaping () -> Void)

    /// Stops a debug build when called from elsewhere; free in release builds.
    func assertCurrent()

    /// Who reads this loop's mail. Set once, before anything is posted.
    func attach(_ receiver: any MailReceiver)
}

/// Reads one loop's mail: the shard of the server that lives there.
public protocol MailReceiver: AnyObject {
    func receive(_ mail: consuming Mail)
    /// All mail of this drain was handled.
    func turnEnded()
}
