/// The part before the at-sign: RFC 8265's UsernameCaseMapped without eight characters (RFC 7622 §3.3, §3.3.1).
enum Localpart {
    /// What ASCII becomes: 0 is not allowed; the rest is lower-cased.
    private static let ascii: InlineTable = InlineTable { byte in
        switch byte {
        case 0x21...0x7E where !forbidden(byte): byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
        default: 0
        }
    }

    private static func forbidden(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x22, 0x26, 0x27, 0x2F, 0x3A, 0x3C, 0x3E, 0x40: true  // " & ' / : < > @
        default: false
        }
    }

    static func prepare(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard !bytes.isEmpty, bytes.count <= AddressParts.longestPart else { return nil }
        switch ascii.map(bytes) {
        case .mapped(let string): return string
        case .refused: return nil
        case .notASCII: break
        }
        guard let points = CodePoints.decode(bytes), let result = PRECIS.usernameCaseMapped(points) else { return nil }
        // Mapping can produce a forbidden character: a full-width colon becomes a colon.
        guard !result.contains(where: { $0 < 0x80 && forbidden(UInt8(truncatingIfNeeded: $0)) }) else { return nil }
        return CodePoints.encode(result, limit: 1023)
    }
}

/// The part after the slash: RFC 8265's OpaqueString (RFC 7622 §3.4).
enum Resourcepart {
    private static let ascii = InlineTable { byte in byte >= 0x20 && byte < 0x7F ? byte : 0 }

    static func prepare(_ bytes: UnsafeBufferPointer<UInt8>) -> String? {
        guard !bytes.isEmpty, bytes.count <= AddressParts.longestPart else { return nil }
        switch ascii.map(bytes) {
        case .mapped(let string): return string
        case .refused: return nil
        case .notASCII: break
        }
        guard let points = CodePoints.decode(bytes), let result = PRECIS.opaqueString(points) else { return nil }
        return CodePoints.encode(result, limit: 1023)
    }
}

/// What each ASCII byte becomes; 0 refuses it.
struct InlineTable: Sendable {
    private let table: [UInt8]

    init(_ entry: (UInt8) -> UInt8) {
        table = (0..<128).map(entry)
    }

    enum Outcome {
        case mapped(String)
        case refused
        case notASCII
    }

    /// Maps up to 1,023 bytes in one pass, or tells that one of them is not ASCII.
    func map(_ bytes: UnsafeBufferPointer<UInt8>) -> Outcome {
        table.withUnsafeBufferPointer { table in
            var changed = false
            var allowed = true
            for byte in bytes {
                guard byte < 0x80 else { return .notASCII }
                let mapped = table[Int(byte)]
                allowed = allowed && mapped != 0
                changed = changed || mapped != byte
            }
            guard allowed, bytes.count <= 1023 else { return .refused }
            guard changed else { return .mapped(String(decoding: bytes, as: UTF8.self)) }
            return .mapped(
                String(unsafeUninitializedCapacity: bytes.count) { target in
                    for index in bytes.indices { target[index] = table[Int(bytes[index])] }
                    return bytes.count
                })
        }
    }
}
