import Foundation
import Logging
import ModuleKit
import NIOCore
import NIOPosix
import Testing

@testable import martlet

@Suite struct `The control socket` {
    @Test func `carries a command to the server and its answer back`() async throws {
        try await ControlHarness.withServer { data async throws in
            let request = ControlRequest(command: "echo", arguments: ["a": "ä\n\""], host: "h", secret: "s/s")
            #expect(try await ControlHarness.run(data, request) == .text("ä\n\" h s/s"))
            #expect(
                try await ControlHarness.run(data, ControlRequest(command: "table"))
                    == .table(columns: ["a"], rows: [["1"], ["2"]]))
            let long = CommandOutput.text(String(repeating: "x", count: 3_000_000))
            #expect(try await ControlHarness.run(data, ControlRequest(command: "long")) == long)
            await #expect(throws: CommandError.notFound("there is no command x")) {
                try await ControlHarness.run(data, ControlRequest(command: "x"))
            }
        }
    }

    @Test func `is for its owner only`() async throws {
        try await ControlHarness.withServer { data async throws in
            let mode = try FileManager.default.attributesOfItem(atPath: data.socketPath)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test func `works in a directory whose name is too long for a socket`() async throws {
        try await ControlHarness.withServer(String(repeating: "n", count: 150)) { data async throws in
            #expect(ControlClient(directory: data).isServerRunning)
            #expect(
                try await ControlHarness.run(data, ControlRequest(command: "table"))
                    == .table(columns: ["a"], rows: [["1"], ["2"]]))
        }
    }

    @Test func `takes the place of one that a dead server left`() async throws {
        let directory = try TemporaryDirectory()
        try Data().write(to: URL(fileURLWithPath: directory.path + "/martlet.sock"))
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let data = DataDirectory(path: directory.path)
        #expect(!ControlClient(directory: data).isServerRunning)
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let server = try await ControlServer.start(in: data, on: group, log: log, dispatch: ControlHarness.echo)
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

    @Test(arguments: [
        "\n", "{}\n", "nonsense\n", "[]\n", "{\"command\": 5}\n", "{\"command\":\"x\",\"arguments\":{\"a\":1}}\n",
    ])
    func `refuses a request that makes no sense`(_ line: String) async throws {
        try await ControlHarness.withServer { data async throws in
            let answer = try await ControlHarness.talk(data, Data(line.utf8))
            #expect(answer == "{\"error\":{\"exitCode\":64,\"message\":\"the request makes no sense\"}}\n")
        }
    }

    @Test func `takes a request in pieces, and one only`() async throws {
        try await ControlHarness.withServer { data async throws in
            let twice = "{\"command\":\"table\",\"arguments\":{}}\n{\"command\":\"table\",\"arguments\":{}}\n"
            let answer = try await ControlHarness.talk(data, Data(twice.utf8))
            #expect(answer == "{\"table\":{\"columns\":[\"a\"],\"rows\":[[\"1\"],[\"2\"]]}}\n")
        }
    }

    @Test func `refuses a request that does not end`() async throws {
        try await ControlHarness.withServer { data async throws in
            let answer = try await ControlHarness.talk(
                data, Data(repeating: UInt8(ascii: "x"), count: ControlRequest.longest + 100))
            #expect(answer.contains("too long") || answer.isEmpty)
        }
    }

    @Test func `never shows the secret of a request`() {
        let request = ControlRequest(command: "account add", arguments: ["address": "a@b"], secret: "hunter2")
        #expect("\(request)" == "account add")
    }
}
