import Dispatch
import Glibc
import NIOConcurrencyHelpers

/// What happened on other threads, in order, for a test to wait for. Waiting is bounded.
final class Journal<Event: Sendable>: Sendable {
    private struct State {
        var events: [Event] = []
        var waiter: DispatchSemaphore?
    }

    private let state = NIOLockedValueBox(State())

    var events: [Event] { state.withLockedValue { $0.events } }

    func note(_ event: Event) {
        let waiter = state.withLockedValue { state in
            state.events.append(event)
            return state.waiter
        }
        waiter?.signal()
    }

    /// False: it did not come about in time.
    @discardableResult
    func wait(seconds: Int = 20, until isReached: ([Event]) -> Bool) -> Bool {
        let deadline = DispatchTime.now() + .seconds(seconds)
        let waiter = DispatchSemaphore(value: 0)
        while true {
            let isDone = state.withLockedValue { state in
                state.waiter = waiter
                return isReached(state.events)
            }
            if isDone { return true }
            guard waiter.wait(timeout: deadline) == .success else { return false }
        }
    }
}

extension Journal where Event: Equatable {
    @discardableResult
    func wait(for event: Event, seconds: Int = 20) -> Bool {
        wait(seconds: seconds) { $0.contains(event) }
    }
}
