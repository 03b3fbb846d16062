import Logging
import ModuleKit
import Synchronization
import Testing
import XMPPServer

@testable import martlet

@Suite struct `Reloads` {
    /// A server that goes over to a config when the test says so.
    private final class Server: RunningServer {
        let listeners: [String] = []
        let begun = AsyncStream.makeStream(of: Void.self)
        let ends = AsyncStream.makeStream(of: Void.self)
        let count = Mutex(0)

        func run(_ command: String, _ input: CommandInput) async throws(CommandError) -> ControlReply {
            throw .usage("no commands")
        }

        func reload(_ config: ServerConfig, dryRun: Bool) async throws(CommandError) -> [ReloadStep] {
            count.withLock { $0 += 1 }
            begun.continuation.yield()
            for await _ in ends.stream { break }
            return []
        }

        func stop() async {}

        func hasBegun() async { for await _ in begun.stream { return } }

        func end(_ count: Int) { for _ in 0..<count { ends.continuation.yield() } }
    }

    private let server = Server()
    private let file: TemporaryFile
    private let reloader: Reloader

    init() throws {
        file = try TemporaryFile("hosts: [localhost]\nlisten: [{port: 1, tls: none}]")
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        reloader = Reloader(path: file.path, server: server, log: log)
    }

    @Test func `that signals ask for while one runs are one more`() async throws {
        reloader.order()
        await server.hasBegun()
        for _ in 0..<10 { reloader.order() }
        server.end(3)
        // Comes after the others.
        _ = try await reloader.reload(dryRun: true)
        #expect(server.count.withLock { $0 } == 3)
    }

    @Test func `that a command asks for have their own turn, and room for so many`() async throws {
        reloader.order()
        await server.hasBegun()
        let count = try await withThrowingTaskGroup(of: Bool.self) { group in
            for _ in 0...Reloader.mostWaiting {
                group.addTask { [reloader] in
                    do {
                        _ = try await reloader.reload(dryRun: false)
                        return true
                    } catch let error as CommandError {
                        return error.exitCode != CommandError.unavailable("").exitCode
                    }
                }
            }
            // The one that was refused.
            #expect(try await group.next() == false)
            server.end(Reloader.mostWaiting + 1)
            return try await group.reduce(into: 0) { if $1 { $0 += 1 } }
        }
        #expect(count == Reloader.mostWaiting)
        #expect(server.count.withLock { $0 } == Reloader.mostWaiting + 1)
    }
}
