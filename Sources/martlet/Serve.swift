import ArgumentParser
import Foundation
import Logging
import ModuleKit
import NIOCore
import NIOPosix
import XMPPServer
import XMPPTransport

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the server.",
        discussion: """
            Logs one line per event to standard error; `event=ready` says that every listener is open. SIGTERM and \
            SIGINT stop it in order, a second one at once; SIGHUP has it read its config again.
            """)

    @OptionGroup var config: ConfigOption

    /// Longest time that stopping in order may take.
    static let patience = Duration.seconds(45)
    /// How much longer it may take to close the database. All that is acknowledged is on disk before.
    static let closing = Duration.seconds(10)
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
        // Until the database is closed, however this ends.
        defer { withExtendedLifetime(lock) {} }
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
        let queue = StandardError.startQueue(config.format)
        LoggingSystem.bootstrap { _ in LineLogHandler(level: level, format: config.format) { queue.add($0) } }
        return Logger(label: "martlet")
    }
}

/// What the process needs of the server in it.
protocol RunningServer: Sendable {
    /// The open listeners, as the log shows them: `127.0.0.1:5222`, `[::1]:5223`.
    var listeners: [String] { get }
    func run(_ command: String, _ input: CommandInput) async throws(CommandError) -> ControlReply
    /// Goes over to a config, or only tells what would change. All or nothing.
    /// Gives what became, or would become, of each part that differs.
    func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> [ReloadStep]
    /// Closes the listeners and every session in order.
    func stop() async
}

/// A server from its first event to its last: signals and control socket around it.
final class ServerProcess: Sendable {
    private let server: any RunningServer
    private let log: Logger
    private let reloader: Reloader
    private let end: ProcessEnd

    init(path: String, server: any RunningServer, log: Logger) {
        self.server = server
        self.log = log
        reloader = Reloader(path: path, server: server, log: log)
        end = ProcessEnd(log: log)
    }

    /// Returns when the server has stopped.
    func run(in directory: DataDirectory, since begin: ContinuousClock.Instant) async throws {
        // Before the announcement: what waits for it may send one at once.
        await Signals.listen(to: [SIGTERM, SIGINT, SIGHUP]) { [reloader, end] number in
            if number == SIGHUP { reloader.order() } else { end.hear(number) }
        }
        // A thread of its own: commands get through however busy the server is. It ends with the process, since a command
        // may be answered later than the server stops.
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let control: ControlServer
        do {
            control = try await ControlServer.start(in: directory, on: loop, log: log) { await self.answer($0) }
        } catch {
            await server.stop()
            throw error
        }
        announce(since: begin)
        await end.isWanted()
        log.notice("stopping")
        end.limit(Serve.patience + Serve.closing)
        await control.stop()
        await withDeadline(Serve.patience) { await self.server.stop() }
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

    private func answer(_ request: ControlRequest) async -> ControlReply {
        do throws(CommandError) {
            switch request.command {
            case "stop":
                // The answer first, then the end.
                Task { [end] in
                    try? await Task.sleep(for: .milliseconds(20))
                    end.order()
                }
                return ControlReply(.done("the server has stopped"))
            case "reload":
                return ControlReply(try await reloader.reload(dryRun: request.arguments["dry-run"] == "true"))
            default: return try await server.run(request.command, request.input)
            }
        } catch {
            return ControlReply(error)
        }
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
