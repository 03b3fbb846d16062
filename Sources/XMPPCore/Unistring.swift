import CIDN2
import Glibc

/// libunistring's functions over arrays of code points. None of them looks at the locale.
enum Unistring {
    static func nfc(_ points: [UInt32]) -> [UInt32]? {
        normalized(points, martlet_UNINORM_NFC())
    }

    static func nfkc(_ points: [UInt32]) -> [UInt32]? {
        normalized(points, martlet_UNINORM_NFKC())
    }

    private static func normalized(_ points: [UInt32], _ form: uninorm_t?) -> [UInt32]? {
        taken { length in points.withUnsafeBufferPointer { u32_normalize(form, $0.baseAddress, $0.count, nil, length) }
        }
    }

    /// Unicode's toLowerCase over the whole string, so that a sigma at the end of a word is seen as one. The language
    /// is always none: in a Turkish locale `I` must not lose its dot.
    static func lowercased(_ points: [UInt32]) -> [UInt32]? {
        taken { length in
            points.withUnsafeBufferPointer { u32_tolower($0.baseAddress, $0.count, nil, nil, nil, length) }
        }
    }

    /// Copies what the library allocated, and frees it.
    private static func taken(_ call: (UnsafeMutablePointer<Int>) -> UnsafeMutablePointer<UInt32>?) -> [UInt32]? {
        var length = 0
        guard let result = call(&length) else { return nil }
        defer { free(result) }
        return Array(UnsafeBufferPointer(start: result, count: length))
    }

    /// The character that a full-width or half-width form stands for (UAX 11); itself when it is neither.
    static func withoutWidth(_ point: UInt32) -> UInt32 {
        guard point >= 0x3000 else { return point }
        var tag: Int32 = 0
        return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: Int(UC_DECOMPOSITION_MAX_LENGTH)) { buffer in
            let count = uc_decomposition(point, &tag, buffer.baseAddress)
            guard count == 1, Int(tag) == UC_DECOMP_WIDE || Int(tag) == UC_DECOMP_NARROW else { return point }
            return buffer[0]
        }
    }

    static func bidiClass(_ point: UInt32) -> Int32 {
        uc_bidi_class(point)
    }

    /// Canonical combining class 9.
    static func isVirama(_ point: UInt32) -> Bool {
        uc_combining_class(point) == 9
    }

    static func joiningType(_ point: UInt32) -> Int32 {
        uc_joining_type(point)
    }

    static func isIgnorable(_ point: UInt32) -> Bool {
        uc_is_property_default_ignorable_code_point(point) || uc_is_property_not_a_character(point)
    }

    /// Whether the general category is one of the mask's (`UC_CATEGORY_MASK_…`).
    static func isCategory(_ point: UInt32, _ mask: Int) -> Bool {
        uc_is_general_category_withtable(point, UInt32(truncatingIfNeeded: mask))
    }

    /// The name of the character's script, such as `Greek`; nil: the library knows none.
    static func script(_ point: UInt32) -> String? {
        uc_script(point).map { String(cString: $0.pointee.name) }
    }

    /// Whether the script is the one of that name, such as `Greek`.
    static func isScript(_ point: UInt32, _ name: StaticString) -> Bool {
        guard let script = uc_script(point) else { return false }
        return name.withUTF8Buffer { buffer in
            guard let start = UnsafeRawPointer(buffer.baseAddress) else { return false }
            return strcmp(script.pointee.name, start.assumingMemoryBound(to: CChar.self)) == 0
        }
    }
}
