import Dispatch
import Foundation
import Synchronization

/// Lines on their way to a slow place. A thread of the queue's own writes them, so that no event loop ever waits for the
/// reader of a log.
///
/// Lines that find the queue full are dropped and counted, until half of it is free again; a line in their place says
/// how many there were.
final class LogQueue: Sendable {
    /// Room for what is not written yet.
    struct Limits: Sendable {
        var lines = 4096
        var bytes = 1 << 20
    }

    private struct Entry: Sendable {
        var bytes: [UInt8]
        /// The dropped lines of which this entry tells; 0: a line like any other.
        var tellsOf = 0
    }

    private struct State: Sendable {
        var waiting: [Entry] = []
        /// Not written yet, what the thread has in its hands included.
        var lines = 0
        var bytes = 0
        var isDropping = false
        /// Dropped lines of which no entry tells yet.
        var untold = 0
        /// Dropped lines since the start.
        var dropped = 0
        var hasThread = false
        var flushes: [DispatchSemaphore] = []

        mutating func append(_ entry: Entry) {
            waiting.append(entry)
            lines += 1
            bytes += entry.bytes.count
        }

        mutating func countDropped() {
            dropped += 1
            untold += 1
        }
    }

    private let limits: Limits
    private let notice: @Sendable (Int) -> [UInt8]
    private let write: @Sendable ([UInt8]) -> Bool
    private let state = Mutex(State())
    /// Signalled when the first entry waits.
    private let work = DispatchSemaphore(value: 0)

    /// - Parameters:
    ///   - notice: makes the line that tells of so many dropped ones.
    ///   - write: writes a line and may take its time; false if it was lost. Called on the queue's thread only.
    init(
        limits: Limits = Limits(), notice: @escaping @Sendable (Int) -> [UInt8],
        write: @escaping @Sendable ([UInt8]) -> Bool
    ) {
        self.limits = limits
        self.notice = notice
        self.write = write
    }

    /// Lines since the start that nobody will read.
    var dropped: Int { state.withLock { $0.dropped } }

    /// Queues a line, or drops it.
    ///
    /// - Parameter always: also if the queue is full, for what a process has to say when it ends.
    func add(_ line: [UInt8], always: Bool = false) {
        let (isFirst, needsThread) = state.withLock { state -> (Bool, Bool) in
            if state.lines <= limits.lines / 2, state.bytes <= limits.bytes / 2 { state.isDropping = false }
            let isFull = state.lines >= limits.lines || state.bytes + line.count > limits.bytes
            guard always || !state.isDropping && !isFull else {
                state.isDropping = true
                state.countDropped()
                return (false, false)
            }
            let isFirst = state.waiting.isEmpty
            tellOfDropped(&state)
            state.append(Entry(bytes: line))
            defer { state.hasThread = true }
            return (isFirst, !state.hasThread)
        }
        if needsThread { startThread() }
        if isFirst { work.signal() }
    }

    /// Waits until everything is written or lost, but no longer than this.
    ///
    /// - Returns: Whether it was in time.
    @discardableResult
    func flush(within time: DispatchTimeInterval) -> Bool {
        let end = DispatchSemaphore(value: 0)
        let isDone = state.withLock { state in
            if state.lines > 0 { state.flushes.append(end) }
            return state.lines == 0
        }
        return isDone || end.wait(timeout: .now() + time) == .success
    }

    private func tellOfDropped(_ state: inout State) {
        guard state.untold > 0 else { return }
        state.append(Entry(bytes: notice(state.untold), tellsOf: state.untold))
        state.untold = 0
    }

    private func startThread() {
        let thread = Thread { [self] in
            while true {
                work.wait()
                writeWaiting()
            }
        }
        thread.name = "log"
        thread.stackSize = 256 << 10
        thread.start()
    }

    private func writeWaiting() {
        while true {
            let entries = state.withLock { state in
                defer { state.waiting = [] }
                return state.waiting
            }
            guard !entries.isEmpty else { return }
            for entry in entries { finish(entry, isWritten: write(entry.bytes)) }
        }
    }

    private func finish(_ entry: Entry, isWritten: Bool) {
        let flushes = state.withLock { state -> [DispatchSemaphore] in
            state.lines -= 1
            state.bytes -= entry.bytes.count
            if !isWritten {
                if entry.tellsOf == 0 { state.countDropped() } else { state.untold += entry.tellsOf }
            } else if state.lines == 0 {
                // Nobody may log anything else for hours.
                tellOfDropped(&state)
            }
            guard state.lines == 0 else { return [] }
            defer { state.flushes = [] }
            return state.flushes
        }
        for flush in flushes { flush.signal() }
    }
}
