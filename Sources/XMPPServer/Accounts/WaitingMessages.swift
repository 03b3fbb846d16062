public import ModuleKit

/// Messages that wait for the accounts of a host.
public enum WaitingMessages {
    /// Accounts that are looked at in one go.
    private static let page = 1000

    /// Those that are stored, delivered or not, when it is asked.
    public static func count(at host: String, in storage: any StorageBackend) async throws(StorageError) -> Int {
        var (count, last) = (0, "")
        while true {
            let after = last
            let (part, next) = try await storage.read { snapshot throws(StorageError) in
                let accounts = try snapshot.accounts(host: host, after: after, limit: page)
                var count = 0
                for account in accounts { count += try snapshot.spoolCount(AccountSpool.store, account.owner) }
                return (count, accounts.count < page ? nil : accounts.last?.local)
            }
            count += part
            guard let next else { return count }
            last = next
        }
    }
}
