/// Numbers as the schemas have them: digits only, in range, or nothing.
enum StrictNumber {
    /// An `xs:unsignedInt` without sign or blanks.
    static func uint32(_ text: some StringProtocol) -> UInt32? { uint32(text.utf8) }

    /// The same as bytes.
    static func uint32(_ text: some Sequence<UInt8>) -> UInt32? {
        var value: UInt64 = 0
        var count = 0
        for byte in text {
            guard (0x30...0x39).contains(byte), count < 10 else { return nil }
            value = value * 10 + UInt64(byte - 0x30)
            count += 1
        }
        return count == 0 ? nil : UInt32(exactly: value)
    }
}
