import Foundation
import Synchronization
import Testing

@testable import martlet

@Suite struct `A port that may be opened later` {
    /// A port of 127.0.0.1 with somebody on it, for as long as the descriptor is open.
    private func taken() throws -> (descriptor: Int32, port: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        inet_pton(AF_INET, "127.0.0.1", &name.sin_addr)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutableBytes(of: &name) { bytes in
            let start = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
            return bind(descriptor, start, length) + listen(descriptor, 1) + getsockname(descriptor, start, &length)
        }
        try #require(result == 0)
        return (descriptor, Int(UInt16(bigEndian: name.sin_port)))
    }

    @Test func `is refused when somebody has it, or the machine has no such address`() throws {
        let (descriptor, port) = try taken()
        #expect(PortProbe.refusal(address: "127.0.0.1", port: port) == EADDRINUSE)
        #expect(PortProbe.refusal(address: "192.0.2.1", port: 0) == EADDRNOTAVAIL)
        #expect(PortProbe.refusal(address: "elsewhere", port: 0) == EINVAL)
        close(descriptor)
        #expect(PortProbe.refusal(address: "127.0.0.1", port: port) == nil)
        #expect(PortProbe.refusal(address: "127.0.0.1", port: 0) == nil)
    }
}

@Suite struct `A turnstile` {
    private final class Room: Sendable {
        let count = Mutex((now: 0, most: 0, all: 0))

        func enter() {
            count.withLock { ($0.now, $0.most, $0.all) = ($0.now + 1, max($0.most, $0.now + 1), $0.all + 1) }
        }

        func leave() { count.withLock { $0.now -= 1 } }
    }

    @Test func `lets one through at a time`() async {
        let (turnstile, room) = (Turnstile(), Room())
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    await turnstile.pass {
                        room.enter()
                        for _ in 0..<10 { await Task.yield() }
                        room.leave()
                    }
                }
            }
        }
        #expect(room.count.withLock { $0.most } == 1)
        #expect(room.count.withLock { $0.all } == 50)
    }
}
