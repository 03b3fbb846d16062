import Foundation
import Logging
import ModuleKit
import StorageSQL
import XMPPServer
import XMPPTransport

/// The joints between this executable and the parts that it puts together.
enum Wiring {
    /// Opens the database in the config's data directory, whose lock the caller holds. Makes none.
    static func openStorage(
        _ config: ServerConfig, log: Logger? = nil
    ) throws(CommandError) -> any StorageBackend {
        let directory = DataDirectory(path: config.data)
        try directory.requireDatabase()
        var options = SQLOptions(path: directory.databasePath)
        options.makesMissing = false
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
        _ config: ServerConfig, storage: any StorageBackend, secret: [UInt8], log: Logger
    ) async throws -> any RunningServer {
        let group = TransportGroup(loops: config.loops)
        do {
            let server = try await Server.start(
                config: config, storage: storage, secret: secret,
                modules: StandardModules.all,
                loops: group.loops, log: log)
            let process = MartletServer(config: config, server: server, group: group, storage: storage, log: log)
            try await process.listen()
            return process
        } catch {
            await group.shutdown()
            throw error
        }
    }
}

extension SQLReport {
    fileprivate var level: Logger.Level {
        switch self {
        case .recovered, .migrated, .batchesSucceed: .notice
        case .removed: .info
        case .batchesFail, .overloaded, .checkpointFailed, .removalFailed, .indexFailed, .closeFailed: .error
        }
    }
}
