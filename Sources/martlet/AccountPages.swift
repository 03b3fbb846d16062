import ModuleKit
import XMPPServer
import XMPPStream

/// A line for each account, in the order of hosts and names, read from the database a page at a time.
struct AccountPages: TextPages {
    /// Accounts of a page.
    static let length = 500

    private let storage: any StorageBackend
    private let line: @Sendable (_ address: String, _ credentials: [[UInt8]]) -> String?
    private var hosts: [String]
    private var last = ""

    /// - Parameters:
    ///   - host: only the accounts of this one; of all `hosts` if it is nil.
    ///   - line: nil leaves the account out.
    /// - Throws: `notFound` if the host is not one of them.
    init(
        _ storage: any StorageBackend, hosts: [HostConfig], host: String?,
        line: @escaping @Sendable (_ address: String, _ credentials: [[UInt8]]) -> String?
    ) throws(CommandError) {
        self.storage = storage
        self.line = line
        self.hosts = hosts.map(\.name)
        guard let host else { return }
        guard let name = BareJID.domain(host)?.domain, self.hosts.contains(name) else {
            throw .notFound("\(host.quotedForPrint) is not a host of this server")
        }
        self.hosts = [name]
    }

    mutating func next() async throws(CommandError) -> [String]? {
        guard let host = hosts.first else { return nil }
        let (last, page): (String, [AccountRecord])
        do {
            last = self.last
            page = try await storage.read([]) { snapshot throws(StorageError) in
                try snapshot.accounts(host: host, after: last, limit: Self.length)
            }
        } catch {
            throw OfflineAccounts.explain(error)
        }
        if let end = page.last?.local, end != last {
            self.last = end
        } else {
            self.last = ""
            hosts.removeFirst()
        }
        return page.compactMap { line("\($0.local)@\(host)", $0.credentials) }
    }

    /// The addresses.
    static func list(
        _ storage: any StorageBackend, hosts: [HostConfig], host: String?
    ) throws(CommandError) -> AccountPages {
        try AccountPages(storage, hosts: hosts, host: host) { address, _ in address }
    }

    /// Addresses with the keys of their passwords, as `account import` reads them. Of a password with devices only the
    /// account's own one: nothing else can be brought to another server. An account without one is a comment.
    static func export(
        _ storage: any StorageBackend, hosts: [HostConfig], host: String?
    ) throws(CommandError) -> AccountPages {
        try AccountPages(storage, hosts: hosts, host: host) { address, credentials in
            let own = CredentialList(stored: credentials).credentials.filter(\.device.isEmpty)
            guard own.isEmpty else { return ImportLine.text(address, own.map(\.keys)) }
            return "# \(address) has no password that another server could take over"
        }
    }
}
