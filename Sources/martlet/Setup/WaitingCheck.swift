import ModuleKit
import StorageSQL
import XMPPServer

/// The messages and accounts that a config leaves in the database: messages at hosts that keep none, accounts of hosts
/// that the config does not name.
///
/// It only reads, beside a server that runs, and each thousand accounts in a snapshot of their own.
struct WaitingCheck {
    /// Hosts that are named one by one.
    private static let most = 20

    let data: DataDirectory
    let config: ServerConfig
    var types: [any Module.Type] = StandardModules.all

    /// A line for each. Empty if the database cannot be read by this process; one that says why if reading fails.
    func notes() -> [String] {
        guard data.canBeRead else { return [] }
        do {
            return try waiting() + strangers()
        } catch {
            return ["nobody knows what waits in the database: \(OfflineAccounts.explain(error).message)"]
        }
    }

    private func waiting() throws(StorageError) -> [String] {
        var notes: [String] = []
        for host in config.hosts where !WaitingMessages.areKept(at: host, by: types) {
            var (count, last) = (0, Optional(""))
            while let after = last {
                let part = try look { snapshot throws(StorageError) in
                    try WaitingMessages.page(at: host.name, after: after, in: snapshot)
                }
                count += part.count
                last = part.last
            }
            guard count > 0 else { continue }
            let ending =
                count == 1
                ? "1 waits, and is delivered when its account logs in"
                : "\(count) wait, and are delivered when their accounts log in"
            notes.append("\(host.name) keeps no messages any more: \(ending)")
        }
        return notes
    }

    private func strangers() throws(StorageError) -> [String] {
        let known = Set(config.hosts.map(\.name))
        var (notes, more) = ([String](), 0)
        var last = ""
        while let found = try next(after: last) {
            last = found.host
            guard !known.contains(last) else { continue }
            guard notes.count < Self.most else {
                more += 1
                continue
            }
            let accounts = found.accounts == 1 ? "1 account" : "\(found.accounts) accounts"
            notes.append("\(last.printable(limit: 300)) has \(accounts) in the database and is not in `hosts`")
        }
        if more > 0 { notes.append("\(more) more hosts have accounts in the database and are not in `hosts`") }
        return notes
    }

    private func next(after host: String) throws(StorageError) -> (host: String, accounts: Int)? {
        try look { snapshot throws(StorageError) in
            guard let next = try snapshot.host(after: host) else { return nil }
            return (next, try snapshot.accountCount(host: next))
        }
    }

    private func look<Value>(
        _ body: (any StorageSnapshot) throws(StorageError) -> Value
    ) throws(StorageError) -> Value {
        try SQLStorage.look(at: SQLOptions(path: data.databasePath), body)
    }
}
