import Foundation
import Logging
import ModuleKit
import Synchronization
import XMPPServer

/// Has a running server go over to what its config file says now, when a command or a signal asks for it.
///
/// One reload at a time, since two would take each other's ports. Signals that come while one waits for its turn are one.
final class Reloader: Sendable {
    private struct State {
        /// Whether a signal's reload waits for its turn.
        var isOrdered = false
        /// Commands that wait for theirs, or for the end of it.
        var waiting = 0
    }

    /// Commands that may wait at once.
    static let mostWaiting = 16

    private let path: String
    private let server: any RunningServer
    private let log: Logger
    private let turns = Turnstile()
    private let state = Mutex(State())

    init(path: String, server: any RunningServer, log: Logger) {
        self.path = path
        self.server = server
        self.log = log
    }

    /// Reloads soon. The log tells the outcome.
    func order() {
        let isFirst = state.withLock { state in
            defer { state.isOrdered = true }
            return !state.isOrdered
        }
        guard isFirst else { return }
        turns.line(up: {
            // Later changes of the file are for the next reload.
            self.state.withLock { $0.isOrdered = false }
            _ = try? await self.reloadNow(dryRun: false)
        })
    }

    /// - Parameter dryRun: only tells what would change.
    /// - Throws: `CommandError` with what is wrong; nothing was changed then, unless it says so.
    func reload(dryRun: Bool) async throws(CommandError) -> CommandOutput {
        let isRefused = state.withLock { state in
            state.waiting += 1
            return state.waiting > Self.mostWaiting
        }
        defer { state.withLock { $0.waiting -= 1 } }
        guard !isRefused else { throw .unavailable("a reload does not end, and too many commands wait for it") }
        return try await turns.pass { () async -> Result<CommandOutput, CommandError> in
            do throws(CommandError) {
                return .success(try await self.reloadNow(dryRun: dryRun))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    private func reloadNow(dryRun: Bool) async throws(CommandError) -> CommandOutput {
        do {
            return try await reloadUnlogged(dryRun: dryRun)
        } catch {
            if !dryRun { log.error("reload_refused", metadata: ["reason": "\(error.message)"]) }
            throw error
        }
    }

    private func reloadUnlogged(dryRun: Bool) async throws(CommandError) -> CommandOutput {
        let file: ConfigFile
        do {
            file = try await FileWork.run { [path] in
                Result { try ConfigFile.load(path, further: ConfigFile.lookAround) }
            }.get()
        } catch {
            throw CommandError("refused, the config is wrong, nothing was changed:\n\(error)")
        }
        if !dryRun { file.logWarnings(log) }
        let steps = try await server.reload(file.config, dryRun: dryRun)
        if !dryRun { log.notice("reloaded", metadata: Self.metadata(steps)) }
        let rows = steps.isEmpty ? [["everything", "is as it was"]] : steps.map { [$0.part, $0.outcome] }
        return .table(columns: ["part", dryRun ? "what happens" : "what happened"], rows: rows)
    }

    /// `applied="limits, modules" needs_process_restart=data`, for whoever reloads by a signal.
    private static func metadata(_ steps: [ReloadStep]) -> Logger.Metadata {
        Dictionary(grouping: steps, by: \.effect).reduce(into: [:]) { metadata, group in
            let key = group.key.rawValue.replacingOccurrences(of: " ", with: "_")
            metadata[key] = "\(group.value.map(\.part).joined(separator: ", "))"
        }
    }
}

extension ConfigFile {
    /// Settings that are allowed and unwise, a line each.
    func logWarnings(_ log: Logger) {
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
