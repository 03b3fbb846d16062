#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// An address, or a network of them: `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`. An IPv4 address is the same in its own
/// form and mapped into IPv6.
public struct AddressRange: Hashable, Sendable {
    /// As IPv6, without the bits that do not count.
    private let bytes: [UInt8]
    private let bits: Int

    /// Nil if the text is neither, or if an address has bits behind its prefix: then one of the two is a mistake.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let first = parts.first, let (bytes, isIPv4) = Self.parse(String(first)) else {
            return nil
        }
        let most = isIPv4 ? 32 : 128
        var length = most
        if parts.count == 2 {
            guard let written = Int(parts[1]), String(written) == parts[1], (0...most).contains(written) else {
                return nil
            }
            length = written
        }
        bits = length + 128 - most
        self.bytes = bytes
        guard Self.masked(bytes, bits) == bytes else { return nil }
    }

    /// Whether this numeric address is one of them.
    public func contains(_ address: String) -> Bool {
        guard let (other, _) = Self.parse(address) else { return false }
        return Self.masked(other, bits) == bytes
    }

    /// Of one family or both.
    var isEverybody: Bool { bits == 0 || bits == 96 && bytes.starts(with: Self.mapping) }

    private static let mapping: [UInt8] = Array(repeating: 0, count: 10) + [0xff, 0xff]

    private static func parse(_ text: String) -> (bytes: [UInt8], isIPv4: Bool)? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            return (mapping + withUnsafeBytes(of: four) { Array($0) }, true)
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        return (withUnsafeBytes(of: six) { Array($0) }, false)
    }

    private static func masked(_ bytes: [UInt8], _ bits: Int) -> [UInt8] {
        bytes.enumerated().map { index, byte in
            let kept = min(8, max(0, bits - index * 8))
            return byte & ~UInt8(truncatingIfNeeded: 0xff >> kept)
        }
    }
}
