import ArgumentParser
import Foundation
import Logging
import ModuleKit
import NIOCore
import NIOPosix
import ServiceLifecycle
import UnixSignals
import XMPPServer
import XMPPTransport

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the server.",
        discussion: """
            Logs one line per event to standard error; `event=ready` says that every listener is open. SIGTERM and \
            SIGINT stop it in order, SIGHUP has it read its config again.
            """)

    @OptionGroup var config: ConfigOption

    /// Longest time that stopping in order may take.
    static let patience = Duration.seconds(45)
    /// With fewer than these the server would fail somewhere on its way up, or serve nobody.
    static let fewestDescriptors = 128

    func run() async throws {
        let path = config.path ?? ConfigFile.defaultPath
        let file = try ConfigFile.load(path, further: ConfigFile.lookAround)
        let directory = DataDirectory(path: file.config.data)
        try directory.requireDatabase()
        let secret = try directory.requireSecret()
        let log = Self.makeLog(file.config.log)
        file.logWarnings(log)
        try Self.checkDescriptors()
        // Whatever is made from here on is for the server's own eyes.
        umask(0o077)
        for warning in Permissions.warnings(directory) {
            log.warning("permissions", metadata: ["reason": "\(warning)"])
        }
        let lock = try directory.lock()
        let begin = ContinuousClock.now
        let storage = try Wiring.openStorage(file.config, log: log)
        do {
            let server = try await Wiring.startServer(file.config, storage: storage, secret: secret, log: log)
            directory.giveToOwner()
            let process = ServerProcess(path: path, server: server, log: log)
            try await process.run(in: directory, since: begin)
        } catch {
            await storage.close()
            throw error
        }
        await storage.close()
        log.notice("stopped")
        withExtendedLifetime(lock) {}
    }

    private static func checkDescriptors() throws(CommandError) {
        let limit = DescriptorLimit.raise()
        guard limit >= fewestDescriptors else {
            throw .unavailable(
                "only \(limit) descriptors may be open, at least \(fewestDescriptors) are needed: "
                    + "see `ulimit -n`, or LimitNOFILE of the service")
        }
    }

    static func makeLog(_ config: LogConfig) -> Logger {
        let level = Logger.Level(rawValue: config.level.rawValue) ?? .info
        LoggingSystem.bootstrap { _ in LineLogHandler(level: level, format: config.format) }
        return Logger(label: "martlet")
    }
}

/// What the process needs of the server in it.
protocol RunningServer: Sendable {
    /// The open listeners, as the log shows them: `127.0.0.1:5222`, `[::1]:5223`.
    var listeners: [String] { get }
    func run(_ command: String, _ input: CommandInput) async throws(CommandError) -> CommandOutput
    /// Goes over to a config, or only tells what would change. All or nothing.
    /// Gives what became, or would become, of each part that differs.
    func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> [ReloadStep]
    /// Closes the listeners and every session in order.
    func stop() async
}

/// A server from its first event to its last: signals and control socket around it.
final class ServerProcess: Sendable {
    private let path: String
    private let server: any RunningServer
    private let log: Logger
    private let reloads = Turnstile()

    init(path: String, server: any RunningServer, log: Logger) {
        self.path = path
        self.server = server
        self.log = log
    }

    /// Returns when the server has stopped.
    func run(in directory: DataDirectory, since begin: ContinuousClock.Instant) async throws {
        var quiet = log
        quiet.logLevel = .error
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [
                    .init(service: UntilShutdown { self.announce(since: begin) }),
                    .init(service: OnHangup { await self.hangup() }),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: quiet))
        // A thread of its own: commands get through however busy the server is.
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let control: ControlServer
        do {
            control = try await ControlServer.start(in: directory, on: loop, log: log) { request in
                await self.answer(request) { await group.triggerGracefulShutdown() }
            }
        } catch {
            await server.stop()
            throw error
        }
        try await group.run()
        log.notice("stopping")
        await control.stop()
        await withDeadline(Serve.patience) { await self.server.stop() }
        try? await loop.shutdownGracefully()
    }

    private func announce(since begin: ContinuousClock.Instant) {
        let time = ContinuousClock.now - begin
        log.notice(
            "ready",
            metadata: [
                "listeners": "\(server.listeners.joined(separator: " "))", "pid": "\(getpid())",
                "version": "\(Martlet.version)", "seconds": "\(Self.seconds(time))",
            ])
    }

    private func answer(
        _ request: ControlRequest, stop: @escaping @Sendable () async -> Void
    ) async -> ControlAnswer {
        do throws(CommandError) {
            switch request.command {
            case "stop":
                // The answer first, then the end.
                Task {
                    try? await Task.sleep(for: .milliseconds(20))
                    await stop()
                }
                return ControlAnswer(.done("the server has stopped"))
            case "reload": return ControlAnswer(try await reload(dryRun: request.arguments["dry-run"] == "true"))
            default: return ControlAnswer(try await server.run(request.command, request.input))
            }
        } catch {
            return ControlAnswer(error)
        }
    }

    /// A signal and commands may ask at the same moment; two at once would take each other's ports.
    private func reload(dryRun: Bool) async throws(CommandError) -> CommandOutput {
        try await reloads.pass { () async -> Result<CommandOutput, CommandError> in
            do throws(CommandError) {
                return .success(try await self.reloadNow(dryRun: dryRun))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    private func reloadNow(dryRun: Bool) async throws(CommandError) -> CommandOutput {
        let config: ServerConfig
        do {
            let file = try ConfigFile.load(path, further: ConfigFile.lookAround)
            if !dryRun { file.logWarnings(log) }
            config = file.config
        } catch {
            if !dryRun { log.error("reload_refused", metadata: ["reason": "\(error)"]) }
            throw CommandError("refused, the config is wrong, nothing was changed:\n\(error)")
        }
        do {
            let steps = try await server.reload(config, dryRun: dryRun)
            if !dryRun { log.notice("reloaded", metadata: Self.metadata(steps)) }
            let rows = steps.isEmpty ? [["everything", "is as it was"]] : steps.map { [$0.part, $0.effect.rawValue] }
            return .table(columns: ["part", dryRun ? "what happens" : "what happened"], rows: rows)
        } catch {
            if !dryRun { log.error("reload_refused", metadata: ["reason": "\(error)"]) }
            throw error
        }
    }

    /// `applied="limits, modules" needs_process_restart=data`, for whoever reloads by a signal.
    private static func metadata(_ steps: [ReloadStep]) -> Logger.Metadata {
        Dictionary(grouping: steps, by: \.effect).reduce(into: [:]) { metadata, group in
            let key = group.key.rawValue.replacingOccurrences(of: " ", with: "_")
            metadata[key] = "\(group.value.map(\.part).joined(separator: ", "))"
        }
    }

    private func hangup() async {
        _ = try? await reload(dryRun: false)
    }

    /// Waits for `body`, but no longer than this: an end that hangs is worse than one that is not in order.
    private func withDeadline(_ duration: Duration, _ body: @escaping @Sendable () async -> Void) async {
        let (ends, continuation) = AsyncStream.makeStream(of: Bool.self, bufferingPolicy: .bufferingOldest(1))
        let work = Task {
            await body()
            continuation.yield(true)
        }
        let timer = Task {
            try await Task.sleep(for: duration)
            continuation.yield(false)
        }
        for await inTime in ends {
            if !inTime { log.error("stop_timeout", metadata: ["seconds": "\(Self.seconds(duration))"]) }
            break
        }
        timer.cancel()
        work.cancel()
    }

    private static func seconds(_ duration: Duration) -> String {
        let milliseconds = duration / .milliseconds(1)
        return String(format: "%.3f", milliseconds / 1000)
    }
}

/// Ends when the process is told to. Services start when signals are already caught, so what waits for the
/// announcement may send one at once.
private struct UntilShutdown: Service {
    let announce: @Sendable () -> Void

    init(_ announce: @escaping @Sendable () -> Void) {
        self.announce = announce
    }

    func run() async throws {
        announce()
        try? await gracefulShutdown()
    }
}

/// Calls for each SIGHUP, one after the other.
private struct OnHangup: Service {
    let reload: @Sendable () async -> Void

    init(_ reload: @escaping @Sendable () async -> Void) {
        self.reload = reload
    }

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup)
        for await _ in signals.cancelOnGracefulShutdown() { await reload() }
    }
}

extension ConfigFile {
    /// What is allowed and unwise, a line each.
    fileprivate func logWarnings(_ log: Logger) {
        for warning in warnings {
            log.warning(
                "config_warning",
                metadata: [
                    "file": "\(warning.file)", "line": "\(warning.line)", "key": "\(warning.key)",
                    "reason": "\(warning.reason)",
                ])
        }
    }
}
