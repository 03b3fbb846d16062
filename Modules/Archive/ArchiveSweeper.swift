internal import Logging
internal import ModuleKit
internal import Synchronization

/// Drops what is older than it may be, and what is more than there may be: one account after the other, a few rows at a
/// time, so that those who write hardly notice.
final class ArchiveSweeper: Sendable {
    private struct State {
        var hosts: [String] = []
        var work: Task<Void, Never>?
    }

    private let retention: ArchiveModule.Retention
    private let storage: any StorageBackend
    private let log: Logger
    private let state = Mutex(State())

    /// From the end of one round to the next.
    private static let pause = Duration.seconds(3600)
    /// Between two steps.
    private static let rest = Duration.milliseconds(20)
    /// Accounts that one read looks at.
    private static let accounts = 100
    /// Rows that one step drops.
    private static let rows = 200

    init(_ retention: ArchiveModule.Retention, _ storage: any StorageBackend, _ log: Logger) {
        (self.retention, self.storage, self.log) = (retention, storage, log)
    }

    /// The hosts whose accounts are looked after; called once per loop with the same ones.
    func serve(_ hosts: [String], clock: KernelHandle) {
        state.withLock { state in
            state.hosts = hosts
            guard state.work == nil else { return }
            state.work = Task { await self.run(clock) }
        }
    }

    func stop() {
        state.withLock { $0.work }?.cancel()
    }

    private func run(_ clock: KernelHandle) async {
        // A server that has just started has better things to do.
        try? await Task.sleep(for: .seconds(60))
        while !Task.isCancelled {
            do {
                let dropped = try await sweep(at: clock.now)
                if dropped > 0 { log.info("archives: \(dropped) old messages dropped") }
            } catch {
                if !Task.isCancelled { log.warning("archives: old messages stay: \(error)") }
            }
            try? await Task.sleep(for: Self.pause)
        }
    }

    /// One round. Gives how many rows were dropped.
    func sweep(at now: Timestamp) async throws -> Int {
        let expiry = retention.expiry.components.seconds
        let before = now.isPlausible ? Timestamp(milliseconds: now.milliseconds - expiry * 1000) : .firstPlausible
        var dropped = 0
        for host in state.withLock({ $0.hosts }) {
            var last = ""
            while let page = try await overdue(on: host, after: last, before) {
                for owner in page.owners { dropped += try await trim(owner, before) }
                last = page.last
                try await Task.sleep(for: Self.rest)
            }
        }
        return dropped
    }

    /// The accounts behind this one whose archives have something to drop. Nil: there are no more accounts.
    private func overdue(
        on host: String, after local: String, _ before: Timestamp
    ) async throws -> (owners: [OwnerID], last: String)? {
        let keep = retention.rows
        return try await storage.read { snapshot throws(StorageError) in
            let accounts = try snapshot.accounts(host: host, after: local, limit: Self.accounts)
            guard let last = accounts.last else { return nil }
            var owners: [OwnerID] = []
            for owner in accounts.map(\.owner) {
                guard let extent = try snapshot.archiveExtent(AccountArchive.store, owner) else { continue }
                var isOverdue = extent.oldest.stamp < before
                if !isOverdue, let keep {
                    let most = keep + 1
                    isOverdue =
                        try snapshot.archiveCount(AccountArchive.store, owner, ArchiveQuery(), most: most) == most
                }
                if isOverdue { owners.append(owner) }
            }
            return (owners, last.local)
        }
    }

    private func trim(_ owner: OwnerID, _ before: Timestamp) async throws -> Int {
        var dropped = 0
        while true {
            // Those who wait for the disk go first.
            while storage.isPressed { try await Task.sleep(for: .milliseconds(500)) }
            let outcome = try await storage.submit([
                .trimArchive(
                    AccountArchive.store, owner, from: .firstPlausible, before: before, keep: retention.rows ?? .max,
                    limit: Self.rows)
            ])
            guard case .removed(let count)? = outcome.first else { return dropped }
            dropped += count
            if count < Self.rows { return dropped }
            try await Task.sleep(for: Self.rest)
        }
    }
}

extension KernelHandle {
    /// The time of day on the loop.
    fileprivate var now: Timestamp {
        get async {
            await withCheckedContinuation { answer in perform { answer.resume(returning: $0.wallClock) } }
        }
    }
}
