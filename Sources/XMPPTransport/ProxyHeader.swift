internal import Glibc
internal import ModuleKit

/// The header that a proxy puts before the bytes of its client, to say who that is: version 1 (text) or 2 (binary) of
/// HAProxy's PROXY protocol. Knows no socket; is asked again with more bytes until it has an answer.
///
/// Nothing here is lenient: a header that is nearly right comes from something that is no proxy.
enum ProxyHeader {
    enum Result: Equatable {
        /// So far it may become one.
        case incomplete
        case refused
        /// The header is so long. Nil: the proxy speaks for itself, or does not say for whom (§2.1 `UNKNOWN`, §2.2
        /// `LOCAL`): the address of the connection stands.
        case complete(Int, PeerInfo?)
    }

    /// With the line's end (§2.1).
    static let mostText = 107
    /// Header, addresses and type-length-values; real ones have some hundred bytes.
    static let mostBinary = 2048

    private static let textStart = Array("PROXY ".utf8)
    private static let binaryStart: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]
    private static let binaryFixed = 16

    static func check(_ bytes: UnsafeRawBufferPointer) -> Result {
        guard let first = bytes.first else { return .incomplete }
        let start = first == textStart[0] ? textStart : binaryStart
        guard zip(bytes, start).allSatisfy({ $0 == $1 }) else { return .refused }
        guard bytes.count >= start.count else { return .incomplete }
        return first == textStart[0] ? text(bytes) : binary(bytes)
    }

    // MARK: Version 1

    private static func text(_ bytes: UnsafeRawBufferPointer) -> Result {
        let line = bytes.prefix(mostText)
        guard let end = line.firstIndex(of: 0x0D) else {
            // Nothing else may end the line, or stand in it.
            let isText = line.allSatisfy { (0x20...0x7E).contains($0) }
            return isText && bytes.count < mostText - 1 ? .incomplete : .refused
        }
        guard end + 1 < mostText, line[..<end].allSatisfy({ (0x20...0x7E).contains($0) }) else { return .refused }
        guard end + 1 < bytes.count else { return .incomplete }
        guard bytes[end + 1] == 0x0A else { return .refused }
        let words = String(decoding: line[textStart.count..<end], as: UTF8.self)
            .split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        // What follows it is to be ignored.
        if words.first == "UNKNOWN" { return .complete(end + 2, nil) }
        guard words.count == 5, let family = words.first.flatMap(Family.init(text:)),
            let source = family.canonical(words[1]), family.canonical(words[2]) != nil,
            let port = number(words[3]), number(words[4]) != nil
        else { return .refused }
        return .complete(end + 2, PeerInfo(address: source, port: port))
    }

    private static func number(_ text: String) -> Int? {
        guard text.utf8.count <= 5, let number = Int(text), String(number) == text, (0...65_535).contains(number) else {
            return nil
        }
        return number
    }

    // MARK: Version 2

    private static func binary(_ bytes: UnsafeRawBufferPointer) -> Result {
        guard bytes.count >= 13 else { return .incomplete }
        let command = bytes[12]
        // The upper half is the version; of commands there are two.
        guard command == 0x20 || command == 0x21 else { return .refused }
        guard bytes.count >= binaryFixed else { return .incomplete }
        let count = binaryFixed + Int(bytes[14]) << 8 + Int(bytes[15])
        guard count <= mostBinary else { return .refused }
        guard bytes.count >= count else { return .incomplete }
        // LOCAL: a health check of the proxy. What it says of addresses does not count.
        guard command == 0x21 else { return .complete(count, nil) }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[binaryFixed..<count])
        switch bytes[13] {
        case 0x00: return .complete(count, nil)
        case 0x11: return peer(.four, rest, count)
        case 0x21: return peer(.six, rest, count)
        // A stream between Unix sockets: nobody with an address.
        case 0x31: return rest.count >= 216 ? .complete(count, nil) : .refused
        // Datagrams do not come here.
        default: return .refused
        }
    }

    private static func peer(_ family: Family, _ bytes: UnsafeRawBufferPointer, _ count: Int) -> Result {
        let length = family.length
        guard bytes.count >= 2 * length + 4, let address = family.canonical(bytes[..<length]) else { return .refused }
        let port = Int(bytes[2 * length]) << 8 + Int(bytes[2 * length + 1])
        return .complete(count, PeerInfo(address: address, port: port))
    }

    // MARK: Addresses

    private enum Family {
        case four
        case six

        init?(text: String) {
            switch text {
            case "TCP4": self = .four
            case "TCP6": self = .six
            default: return nil
            }
        }

        var length: Int { self == .four ? 4 : 16 }
        private var number: CInt { self == .four ? AF_INET : AF_INET6 }

        func canonical(_ text: String) -> String? {
            var space = [UInt8](repeating: 0, count: 16)
            guard inet_pton(number, text, &space) == 1 else { return nil }
            return space.withUnsafeBytes { canonical($0[..<length]) }
        }

        /// As the system writes it; IPv4 mapped into IPv6 as IPv4, so that one client has one address.
        func canonical(_ bytes: Slice<UnsafeRawBufferPointer>) -> String? {
            let isMapped =
                self == .six && bytes.prefix(10).allSatisfy { $0 == 0 }
                && bytes.dropFirst(10).prefix(2).allSatisfy { $0 == 0xff }
            let family = isMapped ? Family.four : self
            let address = Array(isMapped ? bytes.dropFirst(12) : bytes)
            var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
            guard inet_ntop(family.number, address, &text, socklen_t(text.count)) != nil else { return nil }
            return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}
