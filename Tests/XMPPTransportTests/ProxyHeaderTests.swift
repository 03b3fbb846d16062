import ModuleKit
import Testing

@testable import XMPPTransport

/// The PROXY protocol, byte by byte.
@Suite struct ProxyHeaderTests {
    private func check(_ bytes: [UInt8]) -> ProxyHeader.Result {
        bytes.withUnsafeBytes { ProxyHeader.check($0) }
    }

    private func check(_ text: String) -> ProxyHeader.Result { check(Array(text.utf8)) }

    private static let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

    private func binary(_ command: UInt8, _ family: UInt8, _ rest: [UInt8], length: Int? = nil) -> [UInt8] {
        let length = length ?? rest.count
        return Self.signature + [command, family, UInt8(length >> 8), UInt8(length & 0xff)] + rest
    }

    private static let four: [UInt8] = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x14, 0x66]
    private static let six: [UInt8] =
        [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1] + [UInt8](repeating: 9, count: 16) + [
            0xff, 0xff, 0, 0,
        ]

    private var headers: [(bytes: [UInt8], peer: PeerInfo?)] {
        [
            (Array("PROXY TCP4 192.0.2.1 198.51.100.2 4660 5222\r\n".utf8), PeerInfo(address: "192.0.2.1", port: 4660)),
            (Array("PROXY TCP6 2001:DB8:0:0::1 ::1 65535 0\r\n".utf8), PeerInfo(address: "2001:db8::1", port: 65535)),
            (Array("PROXY TCP6 ::ffff:192.0.2.9 ::1 1 2\r\n".utf8), PeerInfo(address: "192.0.2.9", port: 1)),
            (Array("PROXY UNKNOWN\r\n".utf8), nil),
            (Array("PROXY UNKNOWN ffff::1 what ever it is\r\n".utf8), nil),
            (binary(0x21, 0x11, Self.four), PeerInfo(address: "192.0.2.1", port: 0x1234)),
            (binary(0x21, 0x21, Self.six), PeerInfo(address: "2001:db8::1", port: 65535)),
            (
                binary(0x21, 0x21, [UInt8](repeating: 0, count: 10) + [255, 255, 192, 0, 2, 3] + Self.six.suffix(20)),
                PeerInfo(address: "192.0.2.3", port: 65535)
            ),
            // With type-length-values, whatever is in them.
            (
                binary(0x21, 0x11, Self.four + [3, 0, 4, 1, 2, 3, 4, 0xE0, 0xff, 0xff]),
                PeerInfo(address: "192.0.2.1", port: 0x1234)
            ),
            (binary(0x20, 0x00, []), nil),
            (binary(0x20, 0x11, Self.four), nil),
            (binary(0x20, 0x77, [1, 2, 3]), nil),
            (binary(0x21, 0x00, []), nil),
            (binary(0x21, 0x00, [1, 2, 3]), nil),
            (binary(0x21, 0x31, [UInt8](repeating: 65, count: 216)), nil),
        ]
    }

    @Test func `each form is read, wherever it is split, and what follows it is left`() {
        for (bytes, peer) in headers {
            for end in 0..<bytes.count { #expect(check(Array(bytes[..<end])) == .incomplete) }
            #expect(check(bytes) == .complete(bytes.count, peer))
            #expect(check(bytes + Array("<?xml version='1.0'?>".utf8)) == .complete(bytes.count, peer))
            #expect(check(bytes + bytes) == .complete(bytes.count, peer))
        }
    }

    @Test(arguments: [
        "PROXY TCP4 192.0.2.1 198.51.100.2 4660 5222\n", "PROXY TCP4 192.0.2.1 198.51.100.2 4660 5222\rx",
        "PROXY TCP4  192.0.2.1 198.51.100.2 4660 5222\r\n", "PROXY TCP4 192.0.2.1 198.51.100.2 4660 5222 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4660\r\n", "PROXY TCP4 192.0.2.1 198.51.100.2 4660 5222 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 5222\r\n", "PROXY TCP4 192.0.2.1 198.51.100.2 -1 5222\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 5222\r\n", "PROXY TCP4 192.0.2.1 198.51.100.2 01 5222\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 x\r\n", "PROXY TCP4 192.0.2.1 198.51.100.2  1\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n", "PROXY TCP4 192.0.2 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.000.2.1 198.51.100.2 1 2\r\n", "PROXY TCP4 0x7f.0.0.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP6 2001:db8:::1 ::1 1 2\r\n", "PROXY TCP4 192.0.2.1 nobody 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.1 1 2\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 1 2\r\n", "PROXY \r\n", "PROXY\r\n", "PROXY  UNKNOWN\r\n",
        "PROXY unknown\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.1 1 2\r\n", "proxy TCP4 192.0.2.1 198.51.100.2 1 2\r\n", "PROXY UNKNOWN\u{0}\r\n",
        "PROXY UNKNOWN \t\r\n", "PROXY UNKNOWN é\r\n", "PROXYTCP4", "<?xml version='1.0'?>", "GET / HTTP/1.1\r\n",
        " PROXY ", "\n",
        "PROXY TCP4\n", "\r\r", "\r\n\r\n\r",
    ])
    func `what is nearly a header is none`(_ text: String) {
        #expect(check(text) == .refused)
    }

    @Test func `a line has 107 bytes at most, and one that goes on is refused when it is that long`() {
        let start = "PROXY UNKNOWN "
        let longest = start + String(repeating: "x", count: 107 - start.utf8.count - 2) + "\r\n"
        #expect(longest.utf8.count == 107)
        #expect(check(longest) == .complete(107, nil))
        #expect(check(start + String(repeating: "x", count: 106 - start.utf8.count)) == .refused)
        #expect(check(start + String(repeating: "x", count: 105 - start.utf8.count)) == .incomplete)
        #expect(check(start + String(repeating: "x", count: 106 - start.utf8.count) + "\r\n") == .refused)
        #expect(check(start + String(repeating: "x", count: 100_000)) == .refused)
    }

    @Test func `every other byte of a signature is refused at once`() {
        for index in Self.signature.indices {
            var bytes = Array(Self.signature[...index])
            bytes[index] ^= 1
            #expect(check(bytes) == .refused)
        }
    }

    @Test func `versions, commands and families that nobody speaks are refused`() {
        for command in UInt8.min...UInt8.max where command != 0x20 && command != 0x21 {
            #expect(check(binary(command, 0x11, Self.four)) == .refused)
            // Before the rest is there.
            #expect(check(Self.signature + [command]) == .refused)
        }
        for family in UInt8.min...UInt8.max where ![0x00, 0x11, 0x21, 0x31].contains(family) {
            #expect(check(binary(0x21, family, Self.six)) == .refused)
        }
    }

    @Test func `a length that the addresses do not fit into is refused, and so is one beyond the limit`() {
        for (family, needed) in [(UInt8(0x11), 12), (0x21, 36), (0x31, 216)] {
            for length in 0..<needed {
                #expect(check(binary(0x21, family, [UInt8](repeating: 1, count: length))) == .refused)
            }
        }
        let most = ProxyHeader.mostBinary - 16
        #expect(check(binary(0x21, 0x11, Self.four, length: most)) == .incomplete)
        #expect(check(binary(0x21, 0x11, Self.four, length: most + 1)) == .refused)
        #expect(check(binary(0x20, 0x00, [], length: 65_535)) == .refused)
        let long = binary(0x21, 0x11, Self.four + [UInt8](repeating: 7, count: most - 12))
        #expect(check(long) == .complete(long.count, PeerInfo(address: "192.0.2.1", port: 0x1234)))
    }

    @Test func `no bytes make it trap`() {
        var generator = SystemRandomNumberGenerator()
        let seeds = headers.map(\.bytes)
        for round in 0..<20_000 {
            var bytes = seeds[round % seeds.count]
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            let result = check(Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &generator))))
            if case .complete(let count, _) = result { #expect(count <= bytes.count) }
        }
    }
}
