import CIDN2
import Glibc

/// A password after SASLprep (RFC 4013), so that the same characters typed on two keyboards are the same bytes.
public struct PreparedPassword: Hashable, Sendable {
    let bytes: [UInt8]

    /// Bytes of the longest password.
    public static let limit = 1023

    /// Nil: empty, too long, or with characters that RFC 4013 forbids (controls, private use, a mix of directions).
    public init?(_ password: String) {
        let utf8 = Array(password.utf8)
        guard (1...Self.limit).contains(utf8.count) else { return nil }
        if utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) {
            bytes = utf8
            return
        }
        guard let prepared = SASLprep.prepare(password), (1...Self.limit).contains(prepared.count) else { return nil }
        bytes = prepared
    }
}

extension PreparedPassword: CustomStringConvertible {
    /// Never the password, so that no log has it.
    public var description: String { "password" }
}

/// RFC 4013 over libunistring: map, normalize (NFKC), prohibit, check directions.
enum SASLprep {
    static func prepare(_ text: String) -> [UInt8]? {
        var mapped: [UInt32] = []
        for scalar in text.unicodeScalars {
            switch scalar.value {
            // RFC 3454 B.1: commonly mapped to nothing.
            case 0xAD, 0x34F, 0x1806, 0x180B...0x180D, 0x200B...0x200D, 0x2060, 0xFE00...0xFE0F, 0xFEFF: continue
            // RFC 3454 C.1.2: other spaces.
            case 0xA0, 0x1680, 0x2000...0x200A, 0x202F, 0x205F, 0x3000: mapped.append(0x20)
            default: mapped.append(scalar.value)
            }
        }
        guard !mapped.isEmpty, let normal = nfkc(mapped), !normal.contains(where: isProhibited), isOneDirection(normal)
        else { return nil }
        var bytes: [UInt8] = []
        for point in normal {
            guard let scalar = Unicode.Scalar(point) else { return nil }
            bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        }
        return bytes
    }

    private static func nfkc(_ points: [UInt32]) -> [UInt32]? {
        var length = 0
        let result = points.withUnsafeBufferPointer {
            u32_normalize(martlet_UNINORM_NFKC(), $0.baseAddress, $0.count, nil, &length)
        }
        guard let result else { return nil }
        defer { free(result) }
        return Array(UnsafeBufferPointer(start: result, count: length))
    }

    /// RFC 3454 C.1.2 and C.2.1 to C.9.
    private static func isProhibited(_ point: UInt32) -> Bool {
        switch point {
        case 0x00...0x1F, 0x7F...0x9F, 0x6DD, 0x70F, 0x180E, 0x200C...0x200F, 0x2028...0x202E, 0x2060...0x2063,
            0x206A...0x206F, 0xFEFF, 0xFFF9...0xFFFD, 0x1D173...0x1D17A:
            true
        case 0xA0, 0x1680, 0x2000...0x200B, 0x202F, 0x205F, 0x3000: true
        case 0xE000...0xF8FF, 0xF0000...0xFFFFD, 0x100000...0x10FFFD: true
        case 0xD800...0xDFFF, 0xFDD0...0xFDEF, 0x2FF0...0x2FFB, 0x340, 0x341, 0xE0001, 0xE0020...0xE007F: true
        default: point & 0xFFFE == 0xFFFE
        }
    }

    /// RFC 3454 §6: text from right to left begins and ends so and holds nothing from left to right.
    private static func isOneDirection(_ points: [UInt32]) -> Bool {
        guard points.contains(where: isRightToLeft), let first = points.first, let last = points.last else {
            return true
        }
        return isRightToLeft(first) && isRightToLeft(last) && !points.contains { uc_bidi_class($0) == UC_BIDI_L }
    }

    private static func isRightToLeft(_ point: UInt32) -> Bool {
        let direction = Int(uc_bidi_class(point))
        return direction == UC_BIDI_R || direction == UC_BIDI_AL
    }
}
