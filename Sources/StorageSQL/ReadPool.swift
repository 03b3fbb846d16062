internal import GRDB
internal import ModuleKit

/// The threads that read, each with a connection of its own, and the reads that wait for one.
final class ReadPool: @unchecked Sendable {
    // Confined: all that varies is guarded by `monitor`; a connection belongs to its thread.
    private let monitor = Monitor()
    private let timekeeper: Timekeeper
    private var ready = FIFO<ReadJob>()
    private var isClosing = false
    private var running = 0
    /// Threads with nothing to do.
    private var idle = 0

    init(_ timekeeper: Timekeeper) {
        self.timekeeper = timekeeper
    }

    /// - Parameter most: Reads that may wait; nil for one that waited elsewhere and was counted there.
    /// - Returns: False: too many wait, and the job is still the caller's to fail.
    @discardableResult
    func add(_ job: ReadJob, most: Int? = nil) -> Bool {
        monitor.lock()
        if let most, ready.count >= most {
            monitor.unlock()
            return false
        }
        ready.append(job)
        let mustWait = ready.count > idle
        monitor.unlock()
        monitor.signal()
        if mustWait { timekeeper.wake() }
        return true
    }

    var hasWaiting: Bool { monitor.locked { !ready.isEmpty } }

    /// Starts one thread on this connection. False: there is none to be had.
    func start(_ database: DatabaseQueue) -> Bool {
        monitor.locked { running += 1 }
        let hasStarted = startThread { [self] in
            do {
                try database.inDatabase { try work(Connection($0)) }
                try database.close()
            } catch {
                // The statements could not be prepared: what is asked now fails, with the reason.
                failAll(StorageError(error))
            }
            monitor.locked {
                running -= 1
                monitor.broadcast()
            }
        }
        if !hasStarted { monitor.locked { running -= 1 } }
        return hasStarted
    }

    /// Waits until every read was answered and every connection is closed.
    func close() {
        monitor.lock()
        isClosing = true
        monitor.broadcast()
        while running > 0 { monitor.wait() }
        monitor.unlock()
    }

    /// Takes out the reads that are past their deadline.
    func takeLate(_ now: UInt64) -> [ReadJob] {
        monitor.locked {
            var late: [ReadJob] = []
            // In the order of their coming, which is nearly that of their deadlines.
            while let first = ready.first, first.deadline <= now {
                late.append(first)
                _ = ready.popFirst()
            }
            return late
        }
    }

    private func next() -> ReadJob? {
        monitor.lock()
        defer { monitor.unlock() }
        while true {
            if let job = ready.popFirst() { return job }
            if isClosing { return nil }
            idle += 1
            monitor.wait()
            idle -= 1
        }
    }

    private func work(_ connection: Connection) throws(StorageError) {
        let snapshot = try SQLSnapshot(connection)
        while let job = next() {
            let finish: @Sendable () -> Void
            do throws(StorageError) {
                try snapshot.begin()
                finish = job.run(.success(snapshot))
            } catch {
                finish = job.run(.failure(error))
            }
            snapshot.end()
            finish()
        }
        connection.finalizeStatements()
    }

    private func failAll(_ error: StorageError) {
        while let job = next() { job.run(.failure(error))() }
    }
}
