internal import Dispatch

/// Runs the jobs of a `MemoryStorage`: when, in which order and on which thread is its own affair, so that a simulator
/// can decide all three. One job at a time; never from within `run`.
public protocol JobExecutor: Sendable {
    func run(_ job: @escaping @Sendable () -> Void)
}

/// One job after the other, on a thread of the system.
public final class QueueExecutor: JobExecutor {
    private let queue = DispatchQueue(label: "storage-memory")

    public init() {}

    public func run(_ job: @escaping @Sendable () -> Void) {
        queue.async(execute: job)
    }
}
