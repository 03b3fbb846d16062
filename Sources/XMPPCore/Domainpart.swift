import CIDN2
import Glibc

/// The domain of an address (RFC 7622 §3.2): a name of IDNA2008 U-labels, or an IP address.
enum Domainpart {
    static func prepare(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard let first = bytes.first, bytes.count <= AddressParts.longestPart else { return nil }
        if first == UInt8(ascii: "[") { return addressLiteral(bytes) }
        var bytes = bytes
        // RFC 7622 §3.2: a final dot is not part of the address.
        let hasFinalDot = bytes.last == UInt8(ascii: ".")
        if hasFinalDot { bytes = UnsafeBufferPointer(rebasing: bytes.dropLast()) }
        switch shape(of: bytes) {
        case .canonical: return String(decoding: bytes, as: UTF8.self)
        case .upperCase: return lowercased(bytes)
        case .international: return international(bytes, mayHaveFinalDot: !hasFinalDot)
        case .invalid: return nil
        }
    }

    private enum Shape {
        /// Lower-case letters, digits and hyphens in labels of 1 to 63.
        case canonical
        case upperCase
        /// Not ASCII, or with an A-label.
        case international
        case invalid
    }

    /// One pass; what is not `international` is decided here.
    private static func shape(of bytes: UnsafeBufferPointer<UInt8>) -> Shape {
        var shape = bytes.count <= 1023 ? Shape.canonical : .invalid
        var start = 0
        for (index, byte) in bytes.enumerated() {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): break
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): if shape == .canonical { shape = .upperCase }
            case UInt8(ascii: "."):
                if !isLabel(bytes[start..<index]) { shape = .invalid }
                start = index + 1
            case UInt8(ascii: "-"):
                // Hyphens in the third and fourth place are reserved (RFC 5890 §2.3.1); `xn--` is what uses them.
                if index == start + 3, bytes[index - 1] == UInt8(ascii: "-"), shape != .invalid {
                    let isALabel =
                        bytes[start] | 0x20 == UInt8(ascii: "x") && bytes[start + 1] | 0x20 == UInt8(ascii: "n")
                    guard isALabel else { return .invalid }
                    return .international
                }
            case 0x80...: return .international
            default: shape = .invalid
            }
        }
        return isLabel(bytes[start...]) ? shape : .invalid
    }

    private static func isLabel(_ label: Slice<UnsafeBufferPointer<UInt8>>) -> Bool {
        guard (1...63).contains(label.count) else { return false }
        return label.first != UInt8(ascii: "-") && label.last != UInt8(ascii: "-")
    }

    private static func lowercased(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
        String(unsafeUninitializedCapacity: bytes.count) { target in
            for (index, byte) in bytes.enumerated() {
                target[index] = (0x41...0x5A).contains(byte) ? byte | 0x20 : byte
            }
            return bytes.count
        }
    }

    /// Label by label, because libidn2 stops at the 255 bytes of the DNS and an address does not.
    private static func international(_ bytes: UnsafeBufferPointer<UInt8>, mayHaveFinalDot: Bool) -> String? {
        guard let points = CodePoints.decode(bytes) else { return nil }
        // The other full stops of RFC 3490 §3.1, as RFC 5895 §2 maps them.
        let dots: Set<UInt32> = [0x2E, 0x3002, 0xFF0E, 0xFF61]
        var labels = points.split(omittingEmptySubsequences: false) { dots.contains($0) }
        if mayHaveFinalDot, labels.count > 1, labels.last?.isEmpty == true { labels.removeLast() }
        var unicode: [[UInt32]] = []
        for label in labels {
            guard let label = uLabel(Array(label)) else { return nil }
            unicode.append(label)
        }
        // RFC 5893 §1.4: one label from right to left puts all of them under the rule.
        if unicode.contains(where: Bidi.hasRightToLeft) {
            guard unicode.allSatisfy(Bidi.followsRule) else { return nil }
        }
        return CodePoints.encode(Array(unicode.joined(separator: [0x2E])), limit: 1023)
    }

    /// Maps and checks one label by way of its A-label, so that U-label and A-label give the same result.
    private static func uLabel(_ label: [UInt32]) -> [UInt32]? {
        guard let text = CodePoints.encode(label, limit: AddressParts.longestPart) else { return nil }
        var ascii: UnsafeMutablePointer<CChar>?
        let flags = Int32(IDN2_NFC_INPUT.rawValue | IDN2_NONTRANSITIONAL.rawValue | IDN2_USE_STD3_ASCII_RULES.rawValue)
        guard idn2_to_ascii_8z(text, &ascii, flags) == IDN2_OK.rawValue, let ascii else { return nil }
        defer { free(ascii) }
        let length = strlen(ascii)
        let isLDH = UnsafeBufferPointer(start: ascii, count: length).withMemoryRebound(to: UInt8.self) { bytes in
            isLabel(bytes[...]) && !bytes.contains(UInt8(ascii: "."))
                && (shape(of: bytes) == .canonical || bytes.starts(with: "xn--".utf8))
        }
        guard isLDH else { return nil }
        var unicode: UnsafeMutablePointer<CChar>?
        guard idn2_to_unicode_8z8z(ascii, &unicode, 0) == IDN2_OK.rawValue, let unicode else { return nil }
        defer { free(unicode) }
        // The way back must lead to the same A-label, or one name would have two forms.
        var again: UnsafeMutablePointer<CChar>?
        guard idn2_to_ascii_8z(unicode, &again, flags) == IDN2_OK.rawValue, let again else { return nil }
        defer { free(again) }
        guard strcmp(ascii, again) == 0 else { return nil }
        let result = UnsafeBufferPointer(start: unicode, count: strlen(unicode)).withMemoryRebound(to: UInt8.self) {
            CodePoints.decode($0)
        }
        guard let result, !result.contains(0x2E) else { return nil }
        return result
    }

    /// `[2001:db8::1]`, in the shortest form (RFC 5952).
    private static func addressLiteral(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard bytes.count <= 64, bytes.last == UInt8(ascii: "]"), !bytes.contains(0) else { return nil }
        var address = in6_addr()
        let text = String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)
        guard inet_pton(AF_INET6, text, &address) == 1 else { return nil }
        let length = Int(INET6_ADDRSTRLEN)
        let canonical = withUnsafeTemporaryAllocation(of: CChar.self, capacity: length) { buffer -> String? in
            guard let start = buffer.baseAddress, inet_ntop(AF_INET6, &address, start, socklen_t(length)) != nil else {
                return nil
            }
            return String(cString: start)
        }
        return canonical.map { "[\($0)]" }
    }
}
