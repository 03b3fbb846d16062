import Foundation
import ModuleKit
import Synchronization
import XMPPServer
import XMPPStream
import XMPPTransport

/// The kernel, its loops and its listeners, as the process drives them.
final class MartletServer: RunningServer {
    private let config: Mutex<ServerConfig>
    private let server: Server
    private let group: TransportGroup
    private let storage: any StorageBackend
    private let opened = Mutex<[(name: String, listener: Listener)]>([])

    init(config: ServerConfig, server: Server, group: TransportGroup, storage: any StorageBackend) {
        self.config = Mutex(config)
        self.server = server
        self.group = group
        self.storage = storage
    }

    var listeners: [String] { opened.withLock { $0.map(\.name) } }

    func listen() async throws {
        let config = config.withLock { $0 }
        let tls = try Self.makeTLS(config)
        for listener in config.listeners {
            let mode = TLSMode(rawValue: listener.tls.rawValue) ?? .required
            for address in Self.addresses(listener.address) {
                let options = ListenerOptions(
                    address: address, port: listener.port, security: Self.security(mode),
                    handshakeTimeout: config.limits.unauthenticated.timeout,
                    limits: config.limits.unauthenticated.elements.xml)
                let server = server
                let open = try await group.listen(options, tls: mode == .none ? nil : tls) { transport in
                    server.accept(transport, tls: mode)
                }
                let name = address.contains(":") ? "[\(address)]:\(open.port)" : "\(address):\(open.port)"
                opened.withLock { $0.append((name, open)) }
            }
        }
    }

    /// Nil if no host has a certificate.
    private static func makeTLS(_ config: ServerConfig) throws -> TLSContext? {
        let certificates = config.hosts.compactMap { host in
            host.certificate.map {
                // Clients name the host in its ASCII form.
                TLSContext.Certificate(
                    hosts: [SelfSignedCertificate.ascii(host.name) ?? host.name], chainFile: $0.certificate,
                    keyFile: $0.key)
            }
        }
        return certificates.isEmpty ? nil : try TLSContext(certificates)
    }

    /// `*` is both families where the machine has them; with one socket, unless the system keeps them apart.
    private static func addresses(_ address: String) -> [String] {
        guard address == "*" else { return [address] }
        let probe = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        guard probe >= 0 else { return ["0.0.0.0"] }
        close(probe)
        let areApart = (try? String(contentsOfFile: "/proc/sys/net/ipv6/bindv6only", encoding: .utf8))?.first == "1"
        return areApart ? ["::", "0.0.0.0"] : ["::"]
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
            storage: storage, hosts: config.withLock { $0.hosts }, encode: Wiring.encode,
            now: LineLogHandler.wallClock, lock: nil)
        if command == "account list" { return try await accounts.list(host: input.arguments["host"]) }
        if command == "account import" { return try await importAccounts(accounts, input) }
        guard let address = input.arguments["address"].flatMap({ BareJID($0) }), !address.local.isEmpty else {
            throw .usage("\(command) needs an address")
        }
        let secret = command == "account remove" ? "" : try secret(input)
        do throws(AccountError) {
            switch command {
            case "account add":
                try await server.createAccount(address, password: secret)
                return .done("\(address) was added")
            case "account remove":
                try await server.removeAccount(address)
                return .done("\(address) was removed")
            case "account password":
                try await server.setPassword(secret, of: address)
                return .done("\(address) has a new password")
            default: break
            }
        } catch {
            throw OfflineAccounts.explain(error, address)
        }
        throw .usage("there is no command \"\(command.prefix(100))\"")
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
        for (account, outcome) in zip(new, outcomes) where outcome == .created {
            server.accountCreated(account.address)
        }
        return .table(
            columns: ["address", "outcome"],
            rows: zip(new, outcomes).map { [$0.address.description, $1.rawValue] })
    }

    func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> CommandOutput {
        // The certificates are read first: if they are wrong, nothing was changed.
        let tls: TLSContext?
        do {
            tls = try Self.makeTLS(config)
        } catch {
            throw CommandError("the certificates are wrong, nothing was changed: \(error)")
        }
        let output = try await server.reload(config, dryRun: dryRun)
        guard !dryRun else { return output }
        if let tls { opened.withLock { $0.forEach { $0.listener.use(tls) } } }
        self.config.withLock { $0 = config }
        return output
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
