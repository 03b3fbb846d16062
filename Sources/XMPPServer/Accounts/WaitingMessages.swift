public import ModuleKit

/// Messages that wait for the accounts of a host.
public enum WaitingMessages {
    /// Accounts that are looked at in one go.
    private static let page = 1000

    /// Those that are stored, delivered or not, when it is asked.
    public static func count(at host: String, in storage: any StorageBackend) async throws(StorageError) -> Int {
        var (count, last) = (0, Optional(""))
        while let after = last {
            let part = try await storage.read { snapshot throws(StorageError) in
                try page(at: host, after: after, in: snapshot)
            }
            count += part.count
            last = part.last
        }
        return count
    }

    /// Those of a thousand accounts behind the name `after`; `last` is the name to go on behind, nil at the end.
    public static func page(
        at host: String, after: String, in snapshot: any StorageSnapshot
    ) throws(StorageError) -> (count: Int, last: String?) {
        let accounts = try snapshot.accounts(host: host, after: after, limit: page)
        var count = 0
        for account in accounts { count += try snapshot.spoolCount(AccountSpool.store, account.owner) }
        return (count, accounts.count < page ? nil : accounts.last?.local)
    }

    /// Whether a host takes new messages for accounts that are away, by one of these modules.
    public static func areKept(at host: HostConfig, by types: [any Module.Type]) -> Bool {
        types.contains { type in
            type.info.provides.contains { $0 == (any KeepingService).self }
                && host.modules.contains { $0.name == type.info.name }
        }
    }
}
