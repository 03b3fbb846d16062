import Synchronization

/// Lets one through at a time, in the order in which they came.
final class Turnstile: Sendable {
    private let last = Mutex<Task<Void, Never>?>(nil)

    /// Calls `body` when everybody before has gone through.
    func pass<Result: Sendable>(_ body: @escaping @Sendable () async -> Result) async -> Result {
        await line(up: body).value
    }

    /// Takes a place in the line at once. The task ends when `body` has been called in its turn.
    @discardableResult
    func line<Result: Sendable>(up body: @escaping @Sendable () async -> Result) -> Task<Result, Never> {
        last.withLock { last in
            let turn = Task { [before = last] in
                await before?.value
                return await body()
            }
            last = Task { _ = await turn.value }
            return turn
        }
    }
}
