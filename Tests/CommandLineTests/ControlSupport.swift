import Foundation
import Logging
import ModuleKit
import NIOPosix

@testable import martlet

/// A control socket in a directory of its own.
enum ControlHarness {
    static let echo: ControlServer.Dispatch = { request in
        switch request.command {
        case "echo":
            ControlReply(.text("\(request.arguments["a"] ?? "-") \(request.host ?? "-") \(request.secret ?? "-")"))
        case "table": ControlReply(.table(columns: ["a"], rows: [["1"], ["2"]]))
        case "long": ControlReply(.text(String(repeating: "x", count: 3_000_000)))
        default: ControlReply(CommandError.notFound("there is no command \(request.command)"))
        }
    }

    /// Runs a server and calls `body` with its directory.
    static func withServer(
        _ name: String = "", limits: ControlServer.Limits = .init(), dispatch: @escaping ControlServer.Dispatch = echo,
        _ body: @Sendable (DataDirectory) async throws -> Void
    ) async throws {
        let directory = try TemporaryDirectory(name)
        let data = DataDirectory(path: directory.path)
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try await ControlServer.start(
            in: data, on: MultiThreadedEventLoopGroup.singleton, limits: limits, log: log, dispatch: dispatch)
        try await body(data)
        await server.stop()
        guard !FileManager.default.fileExists(atPath: data.socketPath) else { throw CommandError("the socket stays") }
    }

    static func run(_ data: DataDirectory, _ request: ControlRequest) async throws -> CommandOutput {
        try await offPool { try ControlClient(directory: data).run(request) }
    }

    /// Sends bytes and reads until the server closes.
    static func talk(_ data: DataDirectory, _ bytes: Data) async throws -> String {
        let path = data.socketPath
        return try await offPool {
            let peer = try RawPeer(path)
            try peer.send(bytes)
            return peer.readToEnd()
        }
    }
}

/// Runs what blocks on a thread of its own, so that the server has threads to answer with.
func offPool<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread { continuation.resume(with: Result { try body() }) }.start()
    }
}

/// A client that does as the test says.
final class RawPeer: Sendable {
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

    /// Asks, and reads nothing.
    func ask(_ command: String) throws {
        try send(try ControlCoding.line(ControlRequest(command: command)))
    }

    /// Reads something; gives how many bytes it was.
    func read() -> Int {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        return max(0, recv(descriptor, &chunk, chunk.count, 0))
    }

    /// Returns when the server has closed, without reading.
    func waitForEnd() {
        var wish = pollfd(fd: descriptor, events: 0, revents: 0)
        poll(&wish, 1, -1)
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
