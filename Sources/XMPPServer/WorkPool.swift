import Dispatch
import Synchronization

/// Runs work that takes long and belongs on no loop: deriving keys.
package protocol WorkExecutor: Sendable {
    /// False: too much is waiting already.
    func run(_ work: @escaping @Sendable () -> Void) -> Bool
}

/// A bounded pool of threads.
final class WorkPool: WorkExecutor {
    private let queues: [DispatchQueue]
    private let waiting = Atomic<Int>(0)
    private let next = Atomic<Int>(0)
    private let limit: Int

    init(threads: Int, limit: Int) {
        queues = (0..<max(1, threads)).map { DispatchQueue(label: "martlet.work.\($0)") }
        self.limit = limit
    }

    func run(_ work: @escaping @Sendable () -> Void) -> Bool {
        guard waiting.add(1, ordering: .relaxed).newValue <= limit else {
            waiting.subtract(1, ordering: .relaxed)
            return false
        }
        let index = next.add(1, ordering: .relaxed).newValue & (Int.max)
        queues[index % queues.count].async { [self] in
            work()
            waiting.subtract(1, ordering: .relaxed)
        }
        return true
    }
}
