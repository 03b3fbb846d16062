import Dispatch
import Synchronization

/// Runs what is asynchronous from a program that is not, and waits for it.
enum Blocking {
    private final class Box<Value: Sendable>: Sendable {
        let result = Mutex<Result<Value, any Error>?>(nil)
    }

    static func run<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) throws -> Value {
        let box = Box<Value>()
        let isDone = DispatchSemaphore(value: 0)
        Task.detached {
            let result: Result<Value, any Error>
            do {
                result = .success(try await work())
            } catch {
                result = .failure(error)
            }
            box.result.withLock { $0 = result }
            isDone.signal()
        }
        isDone.wait()
        guard let result = box.result.withLock({ $0 }) else { throw LoadFailure("no result") }
        return try result.get()
    }
}
