import Foundation
import Logging
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
    private let ports: Listeners
    private let watch: CertificateWatch
    private let process = ProcessStatus()
    /// Of the certificates in use.
    private let certificates: Mutex<[UInt8]>
    /// Reloads and the end, one after the other.
    private let changes = Turnstile()
    private let isStopping = Mutex(false)

    init(config: ServerConfig, server: Server, group: TransportGroup, storage: any StorageBackend, log: Logger) {
        self.config = Mutex(config)
        self.server = server
        self.group = group
        self.storage = storage
        ports = Listeners(group, server)
        watch = CertificateWatch(config, log: log)
        certificates = Mutex([])
    }

    var listeners: [String] { ports.names }

    func listen() async throws {
        let config = config.withLock { $0 }
        let files = try Files(config)
        try await ports.open(config, files.tls)
        certificates.withLock { $0 = files.digest }
        watch.begin(files.expiries)
    }

    /// The content of the files that a config names, which was found to be right.
    private struct Files: Sendable {
        /// Nil if no host has a certificate.
        let tls: TLSContext?
        let digest: [UInt8]
        let expiries: [CertificateWatch.Expiry]

        init(_ config: ServerConfig) throws {
            tls = try MartletServer.makeTLS(config)
            digest = CertificateCheck.digest(config)
            expiries = CertificateWatch.expiries(config)
        }
    }

    /// Nil if no host has a certificate.
    private static func makeTLS(_ config: ServerConfig) throws -> TLSContext? {
        let certificates = config.hosts.compactMap { host in
            host.certificate.map {
                // The handshake names the host in its ASCII form.
                TLSContext.Certificate(
                    hosts: [host.name] + [SelfSignedCertificate.ascii(host.name)].compactMap { $0 },
                    chainFile: $0.certificate,
                    keyFile: $0.key,
                    clients: $0.authorities.map { TLSContext.Clients(host: host.name, authoritiesFile: $0) })
            }
        }
        return certificates.isEmpty ? nil : try TLSContext(certificates)
    }

    func run(_ command: String, _ input: CommandInput) async throws(CommandError) -> ControlReply {
        let (hosts, host) = (config.withLock { $0.hosts }, input.arguments["host"])
        switch command {
        case "account list": return .text(try AccountPages.list(storage, hosts: hosts, host: host))
        case "account export": return .text(try AccountPages.export(storage, hosts: hosts, host: host))
        case "status":
            guard case .table(let columns, let rows) = try await server.run(command, input) else { break }
            return ControlReply(.table(columns: columns, rows: process.rows + rows + ports.rows + watch.rows))
        case _ where command.hasPrefix("account "): return ControlReply(try await account(command, input))
        default: break
        }
        return ControlReply(try await server.run(command, input))
    }

    /// On the live database; what the server has in memory of the account is told to forget.
    private func account(_ command: String, _ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let accounts = OfflineAccounts(
            storage: storage, hosts: config.withLock { $0.hosts },
            now: LineLogHandler.wallClock, lock: nil)
        if command == "account import" { return try await importAccounts(accounts, input) }
        guard let address = input.arguments["address"].flatMap({ BareJID($0) }), !address.local.isEmpty else {
            throw .usage("\(command) needs an address")
        }
        if command == "account show" { return try await accounts.show(address) }
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

    func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> [ReloadStep] {
        // All that can fail comes first: if it does, nothing was changed. And nobody waits in turn for a file.
        let files: Files
        do {
            files = try await FileWork.run { Result { try Files(config) } }.get()
        } catch {
            throw CommandError("refused, the certificates are wrong, nothing was changed: \(error)")
        }
        return try await changes.pass { () async -> Result<[ReloadStep], CommandError> in
            do throws(CommandError) {
                return .success(try await self.goOver(to: config, files, dryRun: dryRun))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    private func goOver(
        to config: ServerConfig, _ files: Files, dryRun: Bool
    ) async throws(CommandError) -> [ReloadStep] {
        guard !isStopping.withLock({ $0 }) else { throw .unavailable("the server is stopping") }
        let plan = ports.plan(config)
        do {
            try ports.probe(plan, config)
            if !dryRun { try await ports.openNew(plan, config, files.tls) }
        } catch {
            throw CommandError("refused, a port cannot be opened, nothing was changed: \(error)")
        }
        var steps: [ReloadStep]
        do {
            steps = try await server.reload(config, dryRun: dryRun)
        } catch {
            await ports.closeNew(plan)
            throw error
        }
        // The files of a certificate change more often than their names.
        if files.digest != certificates.withLock({ $0 }), !steps.contains(where: { $0.part == "tls" }) {
            steps.append(ReloadStep("tls", .applied))
        }
        steps += plan.steps
        guard !dryRun else { return steps }
        self.config.withLock { $0 = config }
        certificates.withLock { $0 = files.digest }
        watch.use(config, files.expiries)
        let failures = await ports.finish(plan, config, files.tls)
        guard failures.isEmpty else {
            throw CommandError("reloaded, but not these ports: \(failures.joined(separator: ", "))")
        }
        return steps
    }

    func stop() async {
        isStopping.withLock { $0 = true }
        watch.end()
        await changes.pass { await self.stopNow() }
    }

    private func stopNow() async {
        await group.stopListening()
        await server.stop()
        // Streams end in order; whoever does not listen is cut after a while.
        for _ in 0..<60 where group.liveConnections > 0 {
            try? await Task.sleep(for: .milliseconds(50))
        }
        await group.shutdown()
    }
}
