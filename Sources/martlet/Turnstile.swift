import Synchronization

/// Lets one through at a time, in the order in which they came.
final class Turnstile: Sendable {
    private let last = Mutex<Task<Void, Never>?>(nil)

    /// Calls `body` when everybody before has gone through.
    func pass<Result: Sendable>(_ body: @escaping @Sendable () async -> Result) async -> Result {
        let turn = last.withLock { last in
            let turn = Task { [before = last] in
                await before?.value
                return await body()
            }
            last = Task { _ = await turn.value }
            return turn
        }
        return await turn.value
    }
}
