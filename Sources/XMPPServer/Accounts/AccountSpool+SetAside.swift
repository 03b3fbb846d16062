import Logging
import ModuleKit

/// Rows that cannot be read, after a fault of the disk or of an earlier version. They leave the spool, so that they
/// neither count against its limit nor stand in anybody's way; their bytes stay for the operator.
extension AccountSpool {
    static let unreadable: StoreName = "unreadable"
    /// Rows that are kept per account; what is more is dropped.
    private static let mostUnreadable = 1000

    /// Moves the row, in one batch, so that it is in one of the stores at any time. It is leased meanwhile: nobody
    /// comes upon it twice.
    func setAside(_ row: SpoolRow) {
        guard let owner = account.owner, leased.insert(row.id).inserted else { return }
        let (loop, held) = (shard.loop, Confined(account))
        shard.storage.submit([
            .spool(Self.unreadable, owner, row, limit: Self.mostUnreadable),
            .unspool(Self.store, owner, ids: [row.id]),
        ]) { [self] result in
            loop.post(.work { self.wasSetAside(row, result, of: held.value) })
        }
    }

    /// After a failure the row is where it was, and the next drain that comes upon it tries again.
    ///
    /// - Parameter account: kept alive by the batch.
    private func wasSetAside(
        _ row: SpoolRow, _ result: Result<[MutationOutcome], StorageError>, of account: LocalAccount
    ) {
        leased.remove(row.id)
        guard case .success(let outcomes) = result else {
            shard.counts.failedCommits += 1
            return
        }
        noteDeleted([row.id])
        shard.counts.unreadable += 1
        shard.log.error(
            "message_unreadable",
            metadata: [
                "account": "\(account.address)", "row": "\(row.id)", "bytes": "\(row.stanza.count)",
                "kept": "\(outcomes.first != .full)",
            ])
    }
}
