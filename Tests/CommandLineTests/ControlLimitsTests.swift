import Foundation
import ModuleKit
import NIOCore
import Synchronization
import Testing

@testable import martlet

/// Silent, slow and many clients of the control socket have a bounded cost, and a command gets through all the same.
@Suite struct `A control socket with bad clients` {
    private static let table = CommandOutput.table(columns: ["a"], rows: [["1"], ["2"]])

    private func table(_ data: DataDirectory) async throws -> CommandOutput {
        try await ControlHarness.run(data, ControlRequest(command: "table"))
    }

    @Test func `cuts off who says nothing`() async throws {
        try await ControlHarness.withServer(limits: .init(timeout: .milliseconds(50))) { data async throws in
            #expect(try await ControlHarness.talk(data, Data("{".utf8)) == "")
        }
    }

    @Test func `lets a silent connection give way to a command`() async throws {
        try await ControlHarness.withServer(limits: .init(connections: 2, timeout: .hours(1))) { data async throws in
            let (first, second) = (try RawPeer(data.socketPath), try RawPeer(data.socketPath))
            try second.send(Data("{".utf8))
            #expect(try await table(data) == Self.table)
            #expect(try await offPool { first.readToEnd() } == "")
            withExtendedLifetime(second) {}
        }
    }

    @Test func `lets who does not read give way to a command`() async throws {
        try await ControlHarness.withServer(limits: .init(connections: 1, readTimeout: .hours(1))) {
            data async throws in
            let slow = try RawPeer(data.socketPath)
            try slow.ask("long")
            #expect(try await table(data) == Self.table)
            #expect(try await offPool { !slow.readToEnd().hasSuffix("\n") })
        }
    }

    @Test func `cuts off who does not read`() async throws {
        let asked = Mutex(0)
        let dispatch: ControlServer.Dispatch = { _ in .text(EndlessPages { asked.withLock { $0 += 1 } }) }
        let limits = ControlServer.Limits(readTimeout: .milliseconds(50))
        try await ControlHarness.withServer(limits: limits, dispatch: dispatch) { data async throws in
            let slow = try RawPeer(data.socketPath)
            try slow.ask("endless")
            // Not cut off as long as it reads.
            try await offPool { slow.read(atLeast: 10_000_000) }
            let before = asked.withLock { $0 }
            // Returns when the other end is closed, though nothing was read.
            try await offPool { slow.waitForEnd() }
            // The system's buffers, and a piece or two.
            #expect(asked.withLock { $0 } - before < 100)
        }
    }

    @Test func `lets what has been running for longest give way when all connections are being served`() async throws {
        let ends = Mutex<[CheckedContinuation<Void, Never>]>([])
        let dispatch: ControlServer.Dispatch = { request in
            guard request.command == "hang" else { return await ControlHarness.echo(request) }
            await withCheckedContinuation { end in ends.withLock { $0.append(end) } }
            return ControlReply(.done("late"))
        }
        try await ControlHarness.withServer(limits: .init(connections: 2), dispatch: dispatch) { data async throws in
            let (first, second) = (try RawPeer(data.socketPath), try RawPeer(data.socketPath))
            for (index, peer) in [first, second].enumerated() {
                try peer.ask("hang")
                while ends.withLock({ $0.count }) <= index { await Task.yield() }
            }
            #expect(try await table(data) == Self.table)
            #expect(try await offPool { first.readToEnd() } == "")
            for end in ends.withLock({ $0 }) { end.resume() }
            #expect(try await offPool { second.readToEnd() } == "{\"done\":\"late\"}\n")
        }
    }

    @Test func `refuses commands when too many run, but for the one that stops the server`() async throws {
        let end = Mutex<CheckedContinuation<Void, Never>?>(nil)
        let dispatch: ControlServer.Dispatch = { request in
            guard request.command == "hang" else { return ControlReply(.done("done")) }
            await withCheckedContinuation { continuation in end.withLock { $0 = continuation } }
            return ControlReply(.done("late"))
        }
        try await ControlHarness.withServer(limits: .init(commands: 1), dispatch: dispatch) { data async throws in
            let peer = try RawPeer(data.socketPath)
            try peer.ask("hang")
            while end.withLock({ $0 == nil }) { await Task.yield() }
            await #expect(throws: CommandError.self) { try await table(data) }
            #expect(try await ControlHarness.run(data, ControlRequest(command: "stop")) == .done("done"))
            end.withLock { $0?.resume() }
            #expect(try await offPool { peer.readToEnd() } == "{\"done\":\"late\"}\n")
            #expect(try await table(data) == .done("done"))
        }
    }

    @Test func `has long answers wait for one another, and hurries who does not read one`() async throws {
        let dispatch: ControlServer.Dispatch = { request in
            ControlReply(.text(String(repeating: "x", count: request.command == "sessions" ? 3_000_000 : 1)))
        }
        let limits = ControlServer.Limits(readTimeout: .hours(1), bulky: 1, hurriedReadTimeout: .milliseconds(50))
        try await ControlHarness.withServer(limits: limits, dispatch: dispatch) { data async throws in
            let slow = try RawPeer(data.socketPath)
            try slow.ask("sessions")
            let answers = try await withThrowingTaskGroup(of: CommandOutput.self) { group in
                for _ in 0..<3 {
                    group.addTask { try await ControlHarness.run(data, ControlRequest(command: "sessions")) }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(answers == Array(repeating: .text(String(repeating: "x", count: 3_000_000)), count: 3))
            #expect(try await offPool { !slow.readToEnd().hasSuffix("\n") })
        }
    }

    @Test func `bounds the requests of all connections, at the cost of those that came to a halt`() async throws {
        let limits = ControlServer.Limits(requestBytes: 100, timeout: .hours(1))
        try await ControlHarness.withServer(limits: limits) { data async throws in
            let halted = try RawPeer(data.socketPath)
            try halted.send(Data(repeating: UInt8(ascii: " "), count: 80))
            // The one loop has read it when it has answered another one.
            #expect(try await table(data) == Self.table)
            #expect(try await offPool { halted.readToEnd() } == "")
            let answer = try await ControlHarness.talk(data, Data(repeating: UInt8(ascii: "x"), count: 101))
            #expect(answer.contains("too many requests") || answer.isEmpty)
        }
    }

    @Test func `makes long texts while they are read, and says when that fails`() async throws {
        let lines = ["ä\"\\", "", "\u{1}\t", String(repeating: "x", count: 200_000), "end"]
        let dispatch: ControlServer.Dispatch = { request in
            let failure = request.command == "fail" ? CommandError.unavailable("the disk is full") : nil
            return .text(ListedPages(pages: [[], [lines[0], lines[1]], [], Array(lines[2...])], failure: failure))
        }
        try await ControlHarness.withServer(dispatch: dispatch) { data async throws in
            let whole = try await ControlHarness.run(data, ControlRequest(command: "list"))
            #expect(whole == .text(lines.joined(separator: "\n")))
            await #expect(throws: CommandError.unavailable("the disk is full")) {
                try await ControlHarness.run(data, ControlRequest(command: "fail"))
            }
        }
    }

    @Test func `answers an empty text`() async throws {
        try await ControlHarness.withServer(dispatch: { _ in .text(ListedPages(pages: [])) }) { data async throws in
            #expect(try await ControlHarness.run(data, ControlRequest(command: "list")) == .text(""))
        }
    }
}

private struct EndlessPages: TextPages {
    var asked: @Sendable () -> Void

    mutating func next() async throws(CommandError) -> [String]? {
        asked()
        return [String(repeating: "x", count: 100_000)]
    }
}

private struct ListedPages: TextPages {
    var pages: [[String]]
    /// Comes after the pages.
    var failure: CommandError?

    mutating func next() async throws(CommandError) -> [String]? {
        if !pages.isEmpty { return pages.removeFirst() }
        if let failure { throw failure }
        return nil
    }
}

extension RawPeer {
    fileprivate func read(atLeast count: Int) {
        var rest = count
        while rest > 0 {
            let part = read()
            guard part > 0 else { return }
            rest -= part
        }
    }
}
