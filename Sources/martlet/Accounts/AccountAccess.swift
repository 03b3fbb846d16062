import ModuleKit
import XMPPServer
import XMPPStream

/// What the account commands do, on the running server or on its database.
protocol AccountAccess: Sendable {
    func add(_ address: BareJID, password: String) async throws(CommandError) -> CommandOutput
    func remove(_ address: BareJID) async throws(CommandError) -> CommandOutput
    func setPassword(_ password: String, of address: BareJID) async throws(CommandError) -> CommandOutput
    /// One address per line; of all hosts if none is named.
    func list(host: String?) async throws(CommandError) -> CommandOutput
    /// One account a line, its address and its keys, as `create` takes them; of all hosts if none is named.
    func export(host: String?) async throws(CommandError) -> CommandOutput
    /// When the account was made, and which keys it has; not the keys.
    func show(_ address: BareJID) async throws(CommandError) -> CommandOutput
    /// Makes accounts; an outcome for each, in order. All are durable when it returns.
    func create(_ accounts: [NewAccount]) async throws(CommandError) -> [CreationOutcome]
    func close() async
}

/// An account with the keys of its password.
struct NewAccount: Sendable, Equatable {
    var address: BareJID
    var credentials: [ScramCredential]
}

enum CreationOutcome: String, Sendable, Equatable {
    case created, exists
}

extension AccountAccess {
    func close() async {}
}

extension PasswordKeys {
    static let refusal = CommandError.usage("the password holds characters that no client can send")
}

/// The accounts of the running server, by its control socket.
struct RemoteAccounts: AccountAccess {
    let client: ControlClient

    func add(_ address: BareJID, password: String) async throws(CommandError) -> CommandOutput {
        try client.run(request("account add", address, secret: password))
    }

    func remove(_ address: BareJID) async throws(CommandError) -> CommandOutput {
        try client.run(request("account remove", address))
    }

    func setPassword(_ password: String, of address: BareJID) async throws(CommandError) -> CommandOutput {
        try client.run(request("account password", address, secret: password))
    }

    func list(host: String?) async throws(CommandError) -> CommandOutput {
        try client.run(ControlRequest(command: "account list", arguments: host.map { ["host": $0] } ?? [:]))
    }

    func export(host: String?) async throws(CommandError) -> CommandOutput {
        try client.run(ControlRequest(command: "account export", arguments: host.map { ["host": $0] } ?? [:]))
    }

    func show(_ address: BareJID) async throws(CommandError) -> CommandOutput {
        try client.run(request("account show", address))
    }

    /// The keys go as the secret, an account a line: its address, then its keys, apart by spaces. The answer is a
    /// table with an outcome per line.
    func create(_ accounts: [NewAccount]) async throws(CommandError) -> [CreationOutcome] {
        let lines = accounts.map { account in
            ([account.address.description] + account.credentials.map(\.text)).joined(separator: " ")
        }
        let request = ControlRequest(command: "account import", secret: lines.joined(separator: "\n"))
        guard case .table(_, let rows) = try client.run(request), rows.count == accounts.count else {
            throw .unavailable("the server's answer makes no sense; is it of another version?")
        }
        var outcomes: [CreationOutcome] = []
        for row in rows {
            guard let outcome = row.last.flatMap(CreationOutcome.init(rawValue:)) else {
                throw CommandError("the server answered: \(row.joined(separator: " ").printable(limit: 200))")
            }
            outcomes.append(outcome)
        }
        return outcomes
    }

    private func request(_ command: String, _ address: BareJID, secret: String? = nil) -> ControlRequest {
        ControlRequest(command: command, arguments: ["address": address.description], secret: secret)
    }
}

/// The accounts in the database of a server that does not run. The caller holds the data directory's lock.
struct OfflineAccounts: AccountAccess {
    let storage: any StorageBackend
    let hosts: [HostConfig]
    let now: @Sendable () -> Timestamp
    /// Kept until the end.
    let lock: DataLock?

    func add(_ address: BareJID, password: String) async throws(CommandError) -> CommandOutput {
        let host = try host(of: address)
        guard let keys = PasswordKeys.derive(password, host.auth) else {
            throw PasswordKeys.refusal
        }
        switch try await create([NewAccount(address: address, credentials: keys)]).first {
        case .created: return .done("\(address) was added")
        case .exists, nil: throw .exists("\(address) exists already")
        }
    }

    func remove(_ address: BareJID) async throws(CommandError) -> CommandOutput {
        let record = try await record(of: address)
        _ = try await submit([.removeAccount(record.owner)])
        return .done("\(address) was removed")
    }

    func setPassword(_ password: String, of address: BareJID) async throws(CommandError) -> CommandOutput {
        let host = try host(of: address)
        let record = try await record(of: address)
        guard let keys = PasswordKeys.derive(password, host.auth) else {
            throw PasswordKeys.refusal
        }
        let credentials = CredentialList(stored: record.credentials).replaced(by: keys)
        _ = try await submit([.setCredentials(record.owner, credentials.stored)])
        return .done("\(address) has a new password")
    }

    func list(host: String?) async throws(CommandError) -> CommandOutput {
        .text(try await lines(host) { $0 }.joined(separator: "\n"))
    }

    /// Of a password with devices only the account's own one: nothing else can be brought to another server. An account
    /// without one is a comment.
    func export(host: String?) async throws(CommandError) -> CommandOutput {
        let lines = try await lines(host) { address, credentials in
            let own = CredentialList(stored: credentials).credentials.filter(\.device.isEmpty)
            guard own.isEmpty else { return ImportLine.text(address, own.map(\.keys)) }
            return "# \(address) has no password that another server could take over"
        }
        return .text(lines.joined(separator: "\n"))
    }

    func show(_ address: BareJID) async throws(CommandError) -> CommandOutput {
        _ = try host(of: address)
        let record = try await record(of: address)
        let list = CredentialList(stored: record.credentials)
        let keys = list.credentials.map { credential in
            let device = credential.device.isEmpty ? "" : " (\(credential.device))"
            return "\(credential.keys) \(credential.keys.iterations)\(device)"
        }
        return .table(
            columns: ["what", "value"],
            rows: [
                ["address", address.description], ["created", record.created.description],
                ["keys", keys.isEmpty ? "none" : keys.joined(separator: ", ")],
                ["passwords_before", String(list.generation)],
            ])
    }

    private func lines(
        _ host: String?, _ line: @escaping @Sendable (String) -> String?
    ) async throws(CommandError) -> [String] {
        try await lines(host) { address, _ in line(address) }
    }

    /// What is said of each account, those of which nothing is left out.
    private func lines(
        _ host: String?, _ line: @escaping @Sendable (String, [[UInt8]]) -> String?
    ) async throws(CommandError) -> [String] {
        var names = hosts.map(\.name)
        if let host {
            guard let name = BareJID.domain(host)?.domain, names.contains(name) else {
                throw .notFound("\(host.quotedForPrint) is not a host of this server")
            }
            names = [name]
        }
        var lines: [String] = []
        for name in names {
            var last = ""
            while true {
                let after = last
                let page = try await read { snapshot throws(StorageError) in
                    try snapshot.accounts(host: name, after: after, limit: 1000)
                }
                lines += page.compactMap { line("\($0.local)@\(name)", $0.credentials) }
                guard let end = page.last?.local, end != last else { break }
                last = end
            }
        }
        return lines
    }

    func create(_ accounts: [NewAccount]) async throws(CommandError) -> [CreationOutcome] {
        let created = now()
        let outcomes = try await submit(
            accounts.map {
                .createAccount(
                    host: $0.address.domain, local: $0.address.local, created: created,
                    credentials: CredentialList().replaced(by: $0.credentials).stored)
            })
        guard outcomes.count == accounts.count else { throw .unavailable("the database lost count") }
        return outcomes.map { if case .owner = $0 { .created } else { .exists } }
    }

    func close() async {
        await storage.close()
    }

    private func host(of address: BareJID) throws(CommandError) -> HostConfig {
        guard let host = hosts.first(where: { $0.name == address.domain }) else {
            throw .notFound("\(address.domain) is not a host of this server")
        }
        return host
    }

    private func record(of address: BareJID) async throws(CommandError) -> AccountRecord {
        let (host, local) = (address.domain, address.local)
        let found = try await read { snapshot throws(StorageError) in
            try snapshot.account(host: host, local: local)
        }
        guard let found else { throw .notFound("\(address) does not exist") }
        return found
    }

    private func submit(_ batch: [Mutation]) async throws(CommandError) -> [MutationOutcome] {
        do {
            return try await storage.submit(batch)
        } catch {
            throw Self.explain(error)
        }
    }

    private func read<Value: Sendable>(
        _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value
    ) async throws(CommandError) -> Value {
        do {
            return try await storage.read([], body)
        } catch {
            throw Self.explain(error)
        }
    }

    static func explain(_ error: AccountError, _ address: BareJID) -> CommandError {
        switch error {
        case .exists: .exists("\(address) exists already")
        case .notFound: .notFound("\(address) does not exist")
        case .noSuchHost: .notFound("\(address.domain) is not a host of this server")
        case .passwordNotAllowed: PasswordKeys.refusal
        case .busy: .unavailable("the server has too much to do; try again")
        case .storage(let error): explain(error)
        }
    }

    static func explain(_ error: StorageError) -> CommandError {
        switch error {
        case .failed(let reason): .unavailable("the database failed: \(reason.printable(limit: 500))")
        case .full: .unavailable("the disk is full")
        case .closed: .unavailable("the database is closed")
        case .timeout: .unavailable("the database did not answer in time")
        case .busy: .unavailable("the database has too much to do; try again")
        case .damaged(let reason): .unavailable("the database cannot be used: \(reason.printable(limit: 500))")
        }
    }
}
