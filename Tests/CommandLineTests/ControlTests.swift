import Foundation
import Logging
import ModuleKit
import NIOCore
import NIOPosix
import Testing

@testable import martlet

@Suite struct `The control socket` {
    private static let echo: ControlServer.Dispatch = { request in
        switch request.command {
        case "echo":
            ControlAnswer(.text("\(request.arguments["a"] ?? "-") \(request.host ?? "-") \(request.secret ?? "-")"))
        case "table": ControlAnswer(.table(columns: ["a"], rows: [["1"], ["2"]]))
        case "long": ControlAnswer(.text(String(repeating: "x", count: 3_000_000)))
        default: ControlAnswer(CommandError.notFound("there is no command \(request.command)"))
        }
    }

    /// Runs a server in a directory of its own and calls `body` with it.
    private func withServer(
        _ name: String = "", limits: ControlServer.Limits = .init(),
        _ body: @Sendable (DataDirectory) async throws -> Void
    ) async throws {
        let directory = try TemporaryDirectory(name)
        let data = DataDirectory(path: directory.path)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try await ControlServer.start(in: data, on: group, limits: limits, log: log, dispatch: Self.echo)
        try await body(data)
        await server.stop()
        #expect(!FileManager.default.fileExists(atPath: data.socketPath))
        try await group.shutdownGracefully()
    }

    private func run(_ data: DataDirectory, _ request: ControlRequest) async throws -> CommandOutput {
        try await offPool { try ControlClient(directory: data).run(request) }
    }

    @Test func `carries a command to the server and its answer back`() async throws {
        try await withServer { data async throws in
            let request = ControlRequest(command: "echo", arguments: ["a": "ä\n\""], host: "h", secret: "s/s")
            #expect(try await run(data, request) == .text("ä\n\" h s/s"))
            #expect(
                try await run(data, ControlRequest(command: "table")) == .table(columns: ["a"], rows: [["1"], ["2"]]))
            let long = CommandOutput.text(String(repeating: "x", count: 3_000_000))
            #expect(try await run(data, ControlRequest(command: "long")) == long)
            await #expect(throws: CommandError.notFound("there is no command x")) {
                try await run(data, ControlRequest(command: "x"))
            }
        }
    }

    @Test func `is for its owner only`() async throws {
        try await withServer { data async throws in
            let mode = try FileManager.default.attributesOfItem(atPath: data.socketPath)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test func `works in a directory whose name is too long for a socket`() async throws {
        try await withServer(String(repeating: "n", count: 150)) { data async throws in
            #expect(ControlClient(directory: data).isServerRunning)
            #expect(
                try await run(data, ControlRequest(command: "table")) == .table(columns: ["a"], rows: [["1"], ["2"]]))
        }
    }

    @Test func `takes the place of one that a dead server left`() async throws {
        let directory = try TemporaryDirectory()
        try Data().write(to: URL(fileURLWithPath: directory.path + "/martlet.sock"))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let data = DataDirectory(path: directory.path)
        #expect(!ControlClient(directory: data).isServerRunning)
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try await ControlServer.start(in: data, on: group, log: log, dispatch: Self.echo)
        #expect(ControlClient(directory: data).isServerRunning)
        await server.stop()
        try await group.shutdownGracefully()
    }

    @Test func `says so when no server runs`() throws {
        let directory = try TemporaryDirectory()
        #expect(throws: CommandError.unavailable("no server is running on \(directory.path)")) {
            try ControlClient(directory: DataDirectory(path: directory.path)).run(ControlRequest(command: "x"))
        }
    }

    /// Sends bytes and reads until the server closes.
    private func talk(_ data: DataDirectory, _ bytes: Data) async throws -> String {
        let path = data.socketPath
        return try await offPool {
            let peer = try RawPeer(path)
            try peer.send(bytes)
            return peer.readToEnd()
        }
    }

    @Test(arguments: [
        "\n", "{}\n", "nonsense\n", "[]\n", "{\"command\": 5}\n", "{\"command\":\"x\",\"arguments\":{\"a\":1}}\n",
    ])
    func `refuses a request that makes no sense`(_ line: String) async throws {
        try await withServer { data async throws in
            let answer = try await talk(data, Data(line.utf8))
            #expect(answer == "{\"error\":{\"exitCode\":64,\"message\":\"the request makes no sense\"}}\n")
        }
    }

    @Test func `takes a request in pieces, and one only`() async throws {
        try await withServer { data async throws in
            let twice = "{\"command\":\"table\",\"arguments\":{}}\n{\"command\":\"table\",\"arguments\":{}}\n"
            let answer = try await talk(data, Data(twice.utf8))
            #expect(answer == "{\"table\":{\"columns\":[\"a\"],\"rows\":[[\"1\"],[\"2\"]]}}\n")
        }
    }

    @Test func `refuses a request that does not end`() async throws {
        try await withServer { data async throws in
            let answer = try await talk(data, Data(repeating: UInt8(ascii: "x"), count: ControlRequest.longest + 100))
            #expect(answer.contains("too long") || answer.isEmpty)
        }
    }

    @Test func `cuts off who says nothing`() async throws {
        try await withServer(limits: .init(timeout: .milliseconds(50))) { data async throws in
            #expect(try await talk(data, Data("{".utf8)) == "")
        }
    }

    @Test func `has room for so many at once`() async throws {
        try await withServer(limits: .init(connections: 1)) { data async throws in
            let first = try RawPeer(data.socketPath)
            // The second is closed at once; the first holds its place until it goes.
            #expect(try await talk(data, Data()) == "")
            withExtendedLifetime(first) {}
        }
    }

    @Test func `never shows the secret of a request`() {
        let request = ControlRequest(command: "account add", arguments: ["address": "a@b"], secret: "hunter2")
        #expect("\(request)" == "account add")
    }
}

/// Runs what blocks on a thread of its own, so that the server has threads to answer with.
private func offPool<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Result { try body() }) }.start()
    }
}

/// A client that does as the test says.
final class RawPeer {
    private let descriptor: Int32

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: path.utf8.prefix(107)) }
        let result = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw CommandError("cannot connect: \(systemError())") }
    }

    deinit { close(descriptor) }

    func send(_ bytes: Data) throws {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Foundation.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            // The server may have had enough.
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    func readToEnd() -> String {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(contentsOf: chunk[..<count])
        }
    }
}
