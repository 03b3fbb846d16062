import CLoadShims
import Glibc

/// Bytes of one element as the server sent them, looked at in place.
struct Slice {
    let bytes: UnsafeBufferPointer<UInt8>

    /// The element's name with its prefix, as it stands behind the first `<`.
    func isNamed(_ name: StaticString) -> Bool {
        let length = name.utf8CodeUnitCount
        guard bytes.count > length + 1, bytes[0] == UInt8(ascii: "<"),
            memcmp(bytes.baseAddress! + 1, name.utf8Start, length) == 0
        else { return false }
        switch bytes[length + 1] {
        case UInt8(ascii: " "), UInt8(ascii: ">"), UInt8(ascii: "/"), UInt8(ascii: "\n"): return true
        default: return false
        }
    }

    func contains(_ text: StaticString) -> Bool {
        find(text) != nil
    }

    /// The value of an attribute of the start tag, as it was written (references are kept).
    func attribute(_ name: StaticString) -> String? {
        var found: String?
        forEachAttribute { key, value in
            if key.count == name.utf8CodeUnitCount, memcmp(key.baseAddress!, name.utf8Start, key.count) == 0 {
                found = String(decoding: value, as: UTF8.self)
            }
        }
        return found
    }

    /// What stands between the first tag called so (with no child in it) and its end.
    func text(of name: StaticString) -> String? {
        guard let start = find(name), let close = bytes[start...].firstIndex(of: UInt8(ascii: ">")),
            bytes[close - 1] != UInt8(ascii: "/")
        else { return nil }
        let rest = bytes[(close + 1)...]
        guard let end = rest.firstIndex(of: UInt8(ascii: "<")) else { return nil }
        return String(decoding: rest[..<end], as: UTF8.self)
    }

    var string: String { String(decoding: bytes, as: UTF8.self) }

    /// What the load needs of a message: the number in its id, and whether it came back as an error.
    func messageHead() -> MessageHead {
        var head = MessageHead()
        forEachAttribute { key, value in
            if key.count == 2, key[0] == UInt8(ascii: "i"), key[1] == UInt8(ascii: "d") {
                head.number = Hex.number(value.dropFirst())
            } else if key.count == 4, value.count == 5, memcmp(key.baseAddress!, "type", 4) == 0,
                memcmp(value.baseAddress!, "error", 5) == 0
            {
                head.isError = true
            }
        }
        return head
    }

    private func find(_ text: StaticString) -> Int? {
        let place = load_find(bytes.baseAddress, bytes.count, text.utf8Start, text.utf8CodeUnitCount)
        return place < 0 ? nil : place
    }

    private func forEachAttribute(
        _ body: (_ key: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>) -> Void
    ) {
        var index = 1
        while index < bytes.count, !Self.isSpace(bytes[index]) {
            if bytes[index] == UInt8(ascii: ">") { return }
            index += 1
        }
        while true {
            while index < bytes.count, Self.isSpace(bytes[index]) { index += 1 }
            let key = index
            while index < bytes.count, bytes[index] != UInt8(ascii: "=") {
                if bytes[index] == UInt8(ascii: ">") { return }
                index += 1
            }
            guard index + 1 < bytes.count else { return }
            let quote = bytes[index + 1]
            let value = index + 2
            let keyEnd = index
            index = value
            while index < bytes.count, bytes[index] != quote { index += 1 }
            guard index < bytes.count else { return }
            body(
                UnsafeBufferPointer(rebasing: bytes[key..<keyEnd]), UnsafeBufferPointer(rebasing: bytes[value..<index]))
            index += 1
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }
}

struct MessageHead {
    /// The 64 bits of our own id: a time or a running number; nil when it is not one of ours.
    var number: UInt64?
    var isError = false
}

/// 64 bits as 16 hexadecimal digits, the changing part of every message id.
enum Hex {
    static let digits = 16

    static func write(_ number: UInt64, into bytes: inout [UInt8], at offset: Int) {
        var left = number
        for index in stride(from: offset + digits - 1, through: offset, by: -1) {
            let digit = UInt8(left & 15)
            bytes[index] = digit < 10 ? 0x30 + digit : 0x57 + digit
            left >>= 4
        }
    }

    static func number(_ bytes: some Collection<UInt8>) -> UInt64? {
        guard bytes.count == digits else { return nil }
        var number: UInt64 = 0
        for byte in bytes {
            switch byte {
            case 0x30...0x39: number = number << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: number = number << 4 | UInt64(byte - 0x57)
            default: return nil
            }
        }
        return number
    }
}
