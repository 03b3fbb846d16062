internal import ModuleKit

/// Drops what is older than it may be, and what is more than there may be: one account after the other, a few rows at a
/// time, so that those who write hardly notice. On one loop.
///
/// What is dropped leaves free pages in the database, which new rows fill.
final class ArchiveSweeper {
    /// Between two steps of a round.
    private static let rest = Duration.milliseconds(250)
    /// From the end of a round to the next one.
    private static let pause = Duration.seconds(3600)
    /// From the start of the server to the first one.
    private static let first = Duration.seconds(300)
    /// Accounts that one step looks at.
    private static let accounts = 100
    /// Rows that one step drops.
    private static let rows = 200

    private struct Round {
        var hosts: ArraySlice<String>
        /// The last account that was looked at.
        var last = ""
        /// Accounts that have something to drop.
        var overdue: [OwnerID] = []
        let before: Timestamp
    }

    private let retention: ArchiveModule.Retention
    private let hosts: [String]
    private let expired: Counter
    private var round: Round?
    private var next: Duration = first
    private var isBusy = false

    init(_ retention: ArchiveModule.Retention, _ hosts: [String], expired: Counter) {
        (self.retention, self.hosts, self.expired) = (retention, hosts, expired)
    }

    /// Returns after which time the next step is due.
    func step(_ kernel: any Kernel) -> Duration {
        if round == nil { begin(kernel) }
        // Those who wait for the disk go first.
        if !isBusy, !kernel.storage.isPressed { goOn(kernel) }
        return round == nil ? .seconds(60) : Self.rest
    }

    private func goOn(_ kernel: any Kernel) {
        guard let round else { return }
        if let owner = round.overdue.last {
            trim(owner, round.before, kernel)
        } else if let host = round.hosts.first {
            look(host, after: round.last, round.before, kernel)
        } else {
            self.round = nil
            next = kernel.uptime + Self.pause
        }
    }

    private func begin(_ kernel: any Kernel) {
        let now = kernel.wallClock
        // A clock that is wrong drops nothing.
        guard kernel.uptime >= next, now.isPlausible else { return }
        let before = now.milliseconds - retention.expiry.components.seconds * 1000
        round = Round(hosts: hosts[...], before: Timestamp(milliseconds: before))
    }

    private func look(_ host: String, after last: String, _ before: Timestamp, _ kernel: any Kernel) {
        isBusy = true
        let (home, held, keep) = (kernel.home, Confined(self), retention.rows)
        kernel.storage.read([]) { snapshot throws(StorageError) in
            let accounts = try snapshot.accounts(host: host, after: last, limit: Self.accounts)
            var overdue: [OwnerID] = []
            for owner in accounts.map(\.owner) where try Self.isOverdue(owner, before, keep, in: snapshot) {
                overdue.append(owner)
            }
            return (overdue, accounts.last?.local)
        } then: { (result: Result<(overdue: [OwnerID], last: String?), StorageError>) in
            home.perform { _ in held.value.looked(result) }
        }
    }

    private static func isOverdue(
        _ owner: OwnerID, _ before: Timestamp, _ keep: Int?, in snapshot: any StorageSnapshot
    ) throws(StorageError) -> Bool {
        guard let extent = try snapshot.archiveExtent(AccountArchive.store, owner) else { return false }
        if extent.oldest.stamp < before { return true }
        guard let keep else { return false }
        return try snapshot.archiveCount(AccountArchive.store, owner, ArchiveQuery(), most: keep + 1) > keep
    }

    private func looked(_ result: Result<(overdue: [OwnerID], last: String?), StorageError>) {
        isBusy = false
        // What cannot be read now is left to the next step.
        guard case .success(let found) = result else { return }
        round?.overdue = found.overdue
        if let last = found.last {
            round?.last = last
        } else {
            round?.last = ""
            round?.hosts.removeFirst()
        }
    }

    private func trim(_ owner: OwnerID, _ before: Timestamp, _ kernel: any Kernel) {
        isBusy = true
        let step = Mutation.trimArchive(
            AccountArchive.store, owner, from: .firstPlausible, before: before, keep: retention.rows ?? .max,
            limit: Self.rows)
        kernel.submit([step], bytes: 0, chargedTo: nil) { [self] result in
            isBusy = false
            var count = 0
            if case .success(let outcomes) = result, case .removed(let removed)? = outcomes.first { count = removed }
            expired.value += count
            // What cannot be dropped now is left to the next round.
            if count < Self.rows, round?.overdue.last == owner { round?.overdue.removeLast() }
        }
    }
}
