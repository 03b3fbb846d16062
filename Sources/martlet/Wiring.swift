import Foundation
import Logging
import ModuleKit
import StorageSQL
import XMPPServer
import XMPPStream
import XMPPTransport

/// The joints between this executable and the parts that it puts together.
enum Wiring {
    /// Opens the database in the config's data directory, whose lock the caller holds.
    static func openStorage(
        _ config: ServerConfig, log: Logger? = nil
    ) throws(CommandError) -> any StorageBackend {
        var options = SQLOptions(path: config.data + "/martlet.db")
        // For crash trials: the file system that forgets what was not synced.
        options.vfs = ProcessInfo.processInfo.environment["MARTLET_TEST_VFS"]
        if let log {
            options.report = { log.log(level: $0.level, "storage", metadata: ["what": "\($0)"]) }
        }
        do {
            return try SQLStorage.open(options)
        } catch {
            throw OfflineAccounts.explain(error)
        }
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
            let process = MartletServer(config: config, server: server, group: group, storage: storage, log: log)
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
        do {
            try Data(secret).write(to: url, options: .atomic)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: url.path)
        } catch {
            throw CommandError.unavailable("\(url.path) cannot be written")
        }
        return secret
    }
}

extension SQLReport {
    fileprivate var level: Logger.Level {
        switch self {
        case .recovered, .migrated, .batchesSucceed: .notice
        case .removed: .info
        case .batchesFail, .overloaded, .checkpointFailed, .removalFailed, .closeFailed: .error
        }
    }
}
