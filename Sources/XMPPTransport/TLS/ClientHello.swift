/// Looks at the first bytes of a TLS connection before OpenSSL does. A handshake that has begun costs tens of
/// kilobytes, and OpenSSL makes room for as many bytes as a hello says it will have; so nothing is begun until the
/// hello is here as a whole, and a peer that sends half of one costs what it has sent.
enum ClientHello {
    enum Verdict: Equatable {
        /// It takes so many bytes; what follows has to wait until it was answered.
        case complete(bytes: Int)
        case incomplete
        /// Not a TLS client, or one with too much to say.
        case refused
    }

    /// Most bytes of a hello with its record headers. Today's are below 2 KB, with post-quantum key shares.
    static let mostBytes = 16 * 1024

    private static let recordHeader = 5
    private static let messageHeader = 4

    /// `isSecond`: the client was asked for another hello, and may send a change_cipher_spec before it (RFC 8446 §D.4).
    static func check(_ bytes: UnsafeRawBufferPointer, isSecond: Bool = false) -> Verdict {
        var position = isSecond ? skipChangeCipherSpec(bytes) : 0
        // Of the handshake message, which may be spread over several records (RFC 8446 §5.1).
        var received = 0
        var length = 0
        while position < bytes.count {
            // A handshake record of any version 3.x.
            guard bytes[position] == 22 else { return .refused }
            if position + 1 < bytes.count, bytes[position + 1] != 3 { return .refused }
            guard position + recordHeader <= bytes.count else { return .incomplete }
            let size = Int(bytes[position + 3]) << 8 | Int(bytes[position + 4])
            guard size > 0, size <= 16 * 1024 else { return .refused }
            position += recordHeader
            let available = min(size, bytes.count - position)
            for offset in 0..<max(0, min(available, messageHeader - received)) {
                let byte = Int(bytes[position + offset])
                if received + offset == 0 {
                    // client_hello
                    guard byte == 1 else { return .refused }
                } else {
                    length = length << 8 | byte
                }
            }
            received += available
            position += available
            if received >= messageHeader {
                guard length <= mostBytes else { return .refused }
                if received >= messageHeader + length { return .complete(bytes: position) }
            }
            guard available == size else { return .incomplete }
            guard position < mostBytes else { return .refused }
        }
        return .incomplete
    }

    private static func skipChangeCipherSpec(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard let first = bytes.first, first == 20 else { return 0 }
        return min(recordHeader + 1, bytes.count)
    }

    /// Whether the server's answer asks for a second hello: a ServerHello with this value for its random (RFC 8446
    /// §4.1.3).
    static func isRetry(_ answer: UnsafeRawBufferPointer) -> Bool {
        let random: [UInt8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65]
        let start = recordHeader + messageHeader + 2
        guard answer.count >= start + random.count, answer[0] == 22, answer[recordHeader] == 2 else { return false }
        return answer[start..<start + random.count].elementsEqual(random)
    }
}
