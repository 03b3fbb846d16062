import Testing

@testable import XMPPTransport

@Suite struct ClientHelloTests {
    private func hello(_ bodyBytes: Int, split: [Int] = []) -> [UInt8] {
        let message =
            [1, UInt8(bodyBytes >> 16 & 0xff), UInt8(bodyBytes >> 8 & 0xff), UInt8(bodyBytes & 0xff)]
            + [UInt8](repeating: 7, count: bodyBytes)
        var rest = message[...]
        var bytes: [UInt8] = []
        for size in split + [message.count - split.reduce(0, +)] {
            bytes += [22, 3, 1, UInt8(size >> 8), UInt8(size & 0xff)] + rest.prefix(size)
            rest = rest.dropFirst(size)
        }
        return bytes
    }

    private func check(_ bytes: [UInt8], isSecond: Bool = false) -> ClientHello.Verdict {
        bytes.withUnsafeBytes { ClientHello.check($0, isSecond: isSecond) }
    }

    @Test func `no part of a hello is a whole one`() {
        for bytes in [hello(300), hello(300, split: [1, 2, 100]), hello(300, split: [4])] {
            for end in 0..<bytes.count { #expect(check(Array(bytes[..<end])) == .incomplete) }
            #expect(check(bytes) == .complete(bytes: bytes.count))
            #expect(check(bytes + [23, 3, 3]) == .complete(bytes: bytes.count))
        }
    }

    @Test func `what is not TLS is refused at its first byte`() {
        #expect(check(Array("<?xml version='1.0'?>".utf8)) == .refused)
        #expect(check([0x80, 0x2e, 1, 3, 1]) == .refused)
        #expect(check([22, 2]) == .refused)
        #expect(check([22, 3, 1, 0, 4, 2]) == .refused)
    }

    @Test func `a hello that says it is long is refused before it comes`() {
        #expect(check([22, 3, 1, 0x40, 0, 1, 1, 0, 0]) == .refused)
        #expect(check([22, 3, 1, 0xff, 0xff]) == .refused)
        #expect(check([22, 3, 1, 0, 0]) == .refused)
        #expect(check([22, 3, 1, 0, 4, 1, 0, 0x40, 0]) == .incomplete)
    }

    @Test func `a hello in thousands of tiny records is refused`() {
        let bytes = hello(6000, split: [Int](repeating: 1, count: 5900))
        #expect(check(bytes) == .refused)
    }

    @Test func `an answer that asks for a second hello is known by its random`() {
        let start: [UInt8] = [22, 3, 3, 0, 88, 2, 0, 0, 84, 3, 3]
        let retry: [UInt8] = [
            0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
        ]
        #expect((start + retry).withUnsafeBytes { ClientHello.isRetry($0) })
        #expect(!(start + retry.reversed()).withUnsafeBytes { ClientHello.isRetry($0) })
        #expect(!start.withUnsafeBytes { ClientHello.isRetry($0) })
    }

    @Test func `a second hello may come behind a change of cipher specification`() {
        let change: [UInt8] = [20, 3, 3, 0, 1, 1]
        #expect(check(change + hello(200)) == .refused)
        #expect(check(change + hello(200), isSecond: true) == .complete(bytes: 215))
        for end in 0...change.count { #expect(check(Array(change[..<end]), isSecond: true) == .incomplete) }
    }
}
