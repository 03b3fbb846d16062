import COpenSSL

/// The hash of a SCRAM mechanism; all of them strongest first.
public enum HashFunction: String, Hashable, Sendable, CaseIterable {
    case sha512 = "SHA-512"
    case sha256 = "SHA-256"
    case sha1 = "SHA-1"

    /// Bytes of a digest.
    public var length: Int {
        switch self {
        case .sha1: 20
        case .sha256: 32
        case .sha512: 64
        }
    }

    /// HMAC with this hash and some key, to be copied: looking the algorithms up takes longer than to use them.
    fileprivate var authenticator: OpaquePointer? {
        switch self {
        case .sha1: Authenticators.sha1.context
        case .sha256: Authenticators.sha256.context
        case .sha512: Authenticators.sha512.context
        }
    }

    fileprivate var digest: OpaquePointer? {
        switch self {
        case .sha1: EVP_sha1()
        case .sha256: EVP_sha256()
        case .sha512: EVP_sha512()
        }
    }
}

private enum Authenticators {
    /// Never written to again, so that every thread may copy it.
    struct Template: @unchecked Sendable {
        // Unchecked: a pointer to something that only `init` changes.
        let context: OpaquePointer?

        init(_ digest: String) {
            let algorithm = EVP_MAC_fetch(nil, "HMAC", nil)
            context = EVP_MAC_CTX_new(algorithm)
            var name = Array(digest.utf8CString)
            // The parameters keep the addresses of both strings.
            let isReady = "digest".withCString { key in
                name.withUnsafeMutableBufferPointer { name in
                    let parameters = [
                        OSSL_PARAM_construct_utf8_string(key, name.baseAddress, 0), OSSL_PARAM_construct_end(),
                    ]
                    return EVP_MAC_init(context, [0], 1, parameters) == 1
                }
            }
            EVP_MAC_free(algorithm)
            precondition(isReady, "OpenSSL has no HMAC with \(digest)")
        }
    }

    static let sha1 = Template("SHA1")
    static let sha256 = Template("SHA256")
    static let sha512 = Template("SHA512")
}

/// What SASL needs of OpenSSL. A failure can only mean that the process has no memory or no entropy left, and going
/// on with a wrong key would be worse than stopping.
public enum Crypto {
    public static func hash(_ function: HashFunction, _ bytes: [UInt8]) -> [UInt8] {
        var length: UInt32 = 0
        let result = filled(function.length) { target in
            EVP_Digest(bytes, bytes.count, target.baseAddress, &length, function.digest, nil)
        }
        precondition(Int(length) == function.length, "OpenSSL cannot hash")
        return result
    }

    public static func hmac(_ function: HashFunction, key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        let context = EVP_MAC_CTX_dup(function.authenticator)
        defer { EVP_MAC_CTX_free(context) }
        var length = 0
        let result = filled(function.length) { target in
            // OpenSSL takes no address for "the key as before", and an empty array has none.
            guard EVP_MAC_init(context, key.isEmpty ? [0] : key, key.count, nil) == 1,
                EVP_MAC_update(context, message, message.count) == 1
            else { return 0 }
            return EVP_MAC_final(context, target.baseAddress, &length, target.count)
        }
        precondition(length == function.length, "OpenSSL cannot authenticate")
        return result
    }

    /// PBKDF2 (RFC 8018 §5.2), the `Hi` of RFC 5802. Slow on purpose: not for an event loop.
    public static func pbkdf2(_ function: HashFunction, password: [UInt8], salt: [UInt8], iterations: Int) -> [UInt8] {
        // An empty array has no address, and OpenSSL takes none for "the default".
        let empty: [CChar] = [0]
        let characters = password.isEmpty ? empty : password.map { CChar(bitPattern: $0) }
        return filled(function.length) { target in
            PKCS5_PBKDF2_HMAC(
                characters, Int32(truncatingIfNeeded: password.count), salt, Int32(truncatingIfNeeded: salt.count),
                Int32(clamping: max(1, iterations)), function.digest, Int32(truncatingIfNeeded: target.count),
                target.baseAddress)
        }
    }

    /// Bytes from the system's generator.
    public static func random(_ count: Int) -> [UInt8] {
        filled(count) { RAND_bytes($0.baseAddress, Int32(truncatingIfNeeded: $0.count)) }
    }

    /// Compares without telling by its time where the difference is. The length is no secret.
    public static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.count == right.count && CRYPTO_memcmp(left, right, left.count) == 0
    }

    private static func filled(_ count: Int, _ fill: (UnsafeMutableBufferPointer<UInt8>) -> Int32) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { target, length in
            let result = fill(UnsafeMutableBufferPointer(rebasing: target[..<count]))
            precondition(result == 1, "OpenSSL failed")
            length = count
        }
    }
}

/// Where nonces and stream ids come from.
public enum RandomSource: Hashable, Sendable {
    /// The system's generator.
    case system
    /// Always the same bytes, repeated as often as needed: for tests with the vectors of an RFC.
    case fixed([UInt8])

    func bytes(_ count: Int) -> [UInt8] {
        switch self {
        case .system: Crypto.random(count)
        case .fixed(let bytes): bytes.isEmpty ? [] : (0..<count).map { bytes[$0 % bytes.count] }
        }
    }

    /// A UUID of version 4 (RFC 9562 §5.4).
    func uuid() -> String {
        var bytes = bytes(16)
        guard bytes.count == 16 else { return "" }
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if [4, 6, 8, 10].contains(index) { text.append(UInt8(ascii: "-")) }
            text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Printable, without a comma, 128 bits or more of the source.
    func token() -> String {
        switch self {
        case .system: Base64.encode(bytes(18))
        case .fixed(let bytes): String(decoding: bytes, as: UTF8.self)
        }
    }
}
