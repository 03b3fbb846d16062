import Foundation
import Logging
import ModuleKit
import StorageSQL
import Synchronization
import XMPPServer
import XMPPStream
import XMPPTransport

/// The joints between this executable and the parts that it puts together.
enum Wiring {
    /// Opens the database in the config's data directory, whose lock the caller holds or takes.
    static func openStorage(
        _ config: ServerConfig, log: Logger? = nil
    ) throws(CommandError) -> any StorageBackend {
        var options = SQLOptions(path: config.data + "/martlet.db")
        options.vfs = ProcessInfo.processInfo.environment["MARTLET_TEST_VFS"]
        do {
            return try SQLStorage.open(options)
        } catch {
            throw OfflineAccounts.explain(error)
        }
    }

    /// A credential as the kernel stores it in `AccountRecord.credentials`.
    @Sendable static func encode(_ credential: ScramCredential) -> [UInt8] {
        Array(credential.text.utf8)
    }

    /// Starts the kernel and its transport, and opens every listener.
    static func startServer(
        _ config: ServerConfig, storage: any StorageBackend, log: Logger
    ) async throws -> any RunningServer {
        let group = TransportGroup(loops: config.loops)
        do {
            let server = try await Server.start(
                config: config, storage: storage, secret: try secret(in: config.data), modules: StandardModules.all,
                loops: group.loops, log: log)
            let process = MartletServer(config: config, server: server, group: group, storage: storage)
            try await process.listen()
            return process
        } catch {
            await group.shutdown()
            throw error
        }
    }

    /// What the fake salts of unknown users are made of: random, and the same after every restart.
    private static func secret(in directory: String) throws -> [UInt8] {
        let url = URL(fileURLWithPath: directory).appendingPathComponent("secret")
        if let data = try? Data(contentsOf: url), data.count == 32 { return Array(data) }
        let secret = Crypto.random(32)
        try Data(secret).write(to: url, options: .atomic)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: url.path)
        return secret
    }
}

/// The kernel, its loops and its listeners, as the process drives them.
final class MartletServer: RunningServer {
    private let config: ServerConfig
    private let server: Server
    private let group: TransportGroup
    private let storage: any StorageBackend
    private let opened = Mutex<[String]>([])

    init(config: ServerConfig, server: Server, group: TransportGroup, storage: any StorageBackend) {
        self.config = config
        self.server = server
        self.group = group
        self.storage = storage
    }

    var listeners: [String] { opened.withLock { $0 } }

    func listen() async throws {
        let certificates = config.hosts.compactMap { host in
            host.certificate.map {
                TLSContext.Certificate(hosts: [host.name], chainFile: $0.certificate, keyFile: $0.key)
            }
        }
        let tls = certificates.isEmpty ? nil : try TLSContext(certificates)
        for listener in config.listeners {
            let mode = TLSMode(rawValue: listener.tls.rawValue) ?? .required
            // `*` is both families where the machine has them.
            let address = listener.address == "*" ? "::" : listener.address
            let options = ListenerOptions(
                address: address, port: listener.port, security: Self.security(mode),
                limits: config.limits.unauthenticated.elements.xml)
            let server = server
            let open = try await group.listen(options, tls: mode == .none ? nil : tls) { transport in
                server.accept(transport, tls: mode)
            }
            let name = listener.address.contains(":") ? "[\(listener.address)]" : listener.address
            opened.withLock { $0.append("\(name):\(open.port)") }
        }
    }

    private static func security(_ mode: TLSMode) -> ListenerOptions.Security {
        switch mode {
        case .required, .optional: .startTLS
        case .none: .none
        case .direct: .direct
        }
    }

    func run(_ command: String, _ input: CommandInput) async throws(CommandError) -> CommandOutput {
        if command.hasPrefix("account ") { return try await account(command, input) }
        return try await server.run(command, input)
    }

    /// On the live database; what the server has in memory of the account is told to forget.
    private func account(_ command: String, _ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let accounts = OfflineAccounts(
            storage: storage, hosts: config.hosts, encode: Wiring.encode,
            now: { Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)) }, lock: nil)
        if command == "account list" { return try await accounts.list(host: input.arguments["host"]) }
        if command == "account import" { return try await importAccounts(accounts, input) }
        guard let address = input.arguments["address"].flatMap({ BareJID($0) }), !address.local.isEmpty else {
            throw .usage("\(command) needs an address")
        }
        let output: CommandOutput
        switch command {
        case "account add": output = try await accounts.add(address, password: try secret(input))
        case "account remove": output = try await accounts.remove(address)
        case "account password": output = try await accounts.setPassword(try secret(input), of: address)
        default: throw .usage("there is no command \"\(command.prefix(100))\"")
        }
        server.accountChanged(address)
        return output
    }

    private func secret(_ input: CommandInput) throws(CommandError) -> String {
        guard let secret = input.secret else { throw .usage("a password is missing") }
        return secret
    }

    /// Lines of an address and its keys, as `RemoteAccounts` sends them.
    private func importAccounts(
        _ accounts: OfflineAccounts, _ input: CommandInput
    ) async throws(CommandError) -> CommandOutput {
        var new: [NewAccount] = []
        for line in (input.secret ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard let address = fields.first.flatMap({ BareJID(String($0)) }), !address.local.isEmpty else {
                throw .usage("a line without an address")
            }
            let credentials = fields.dropFirst().compactMap { ScramCredential(text: String($0)) }
            guard credentials.count == fields.count - 1, !credentials.isEmpty else {
                throw .usage("a line without keys")
            }
            new.append(NewAccount(address: address, credentials: credentials))
        }
        let outcomes = try await accounts.create(new)
        for account in new { server.accountChanged(account.address) }
        return .table(
            columns: ["address", "outcome"],
            rows: zip(new, outcomes).map { [$0.address.description, $1.rawValue] })
    }

    func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> CommandOutput {
        try await server.reload(config, dryRun: dryRun)
    }

    func stop() async {
        await group.stopListening()
        await server.stop()
        // Streams end in order; whoever does not listen is cut after a while.
        for _ in 0..<60 where group.liveConnections > 0 {
            try? await Task.sleep(for: .milliseconds(50))
        }
        await group.shutdown()
    }
}
