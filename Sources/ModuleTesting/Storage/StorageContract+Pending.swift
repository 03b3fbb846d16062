internal import ModuleKit
internal import Synchronization

extension StorageContract {
    /// A result that will come, to be looked at without waiting or to be waited for.
    final class Pending<Value: Sendable>: Sendable {
        private struct State {
            var results: [Result<Value, StorageError>] = []
            var waiting: [CheckedContinuation<Result<Value, StorageError>, Never>] = []
        }

        private let state = Mutex(State())

        func fulfil(_ result: Result<Value, StorageError>) {
            let waiting = state.withLock { state in
                state.results.append(result)
                defer { state.waiting.removeAll() }
                return state.waiting
            }
            for continuation in waiting { continuation.resume(returning: result) }
        }

        /// How often a result came: 0 or 1, or something is wrong.
        var count: Int { state.withLock { $0.results.count } }

        var result: Result<Value, StorageError> {
            get async {
                await withCheckedContinuation { continuation in
                    let result: Result<Value, StorageError>? = state.withLock { state in
                        if state.results.isEmpty { state.waiting.append(continuation) }
                        return state.results.first
                    }
                    if let result { continuation.resume(returning: result) }
                }
            }
        }

        var value: Value {
            get async throws { try await result.get() }
        }
    }
}
