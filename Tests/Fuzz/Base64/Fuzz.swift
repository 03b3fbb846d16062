import FuzzSupport
import XMPPStream

/// Texts to decode, bytes to encode.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = Input.bytes(start, count)
    let encoded = Base64.encode(bytes)
    check(encoded.utf8.count == (bytes.count + 2) / 3 * 4, "every three bytes are four characters")
    check(Base64.decode(encoded) == bytes, "what was encoded is decoded")

    let text = String(decoding: bytes, as: UTF8.self)
    if let decoded = Base64.decode(text) {
        check(Base64.encode(decoded) == text, "one value has one text")
    } else {
        check(!isStrict(text), "\(text.debugDescription) is Base64")
    }
    return 0
}

/// RFC 4648 §4 once more, in other words: groups of four, the last one padded, no bit left over.
private func isStrict(_ text: String) -> Bool {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    let bytes = Array(text.utf8)
    guard bytes.count % 4 == 0 else { return false }
    let values = bytes.prefix { $0 != UInt8(ascii: "=") }.map { digits.firstIndex(of: $0) }
    guard !values.contains(nil), let last = values.last ?? 0 else { return false }
    switch bytes.count - values.count {
    case 0: return true
    case 1: return last % 4 == 0
    case 2: return bytes.last == UInt8(ascii: "=") && last % 16 == 0
    default: return false
    }
}
