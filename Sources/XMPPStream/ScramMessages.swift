/// The client's first message (RFC 5802 §7), taken apart and not yet believed.
struct ScramClientFirst: Hashable, Sendable {
    /// What it says about channel binding.
    enum ChannelBinding: Hashable, Sendable {
        /// `n`: the client has none.
        case unsupported
        /// `y`: the client has it and thinks that the server has not.
        case unoffered
        /// `p=…`: it uses the one of that name.
        case used(String)
    }

    var channelBinding: ChannelBinding
    var authzid: String?
    var username: String
    var nonce: [UInt8]
    /// `p=tls-exporter,a=…,`: what `c=` has to repeat.
    var gs2Header: [UInt8]
    /// The rest, which is signed.
    var bare: [UInt8]

    /// Longest nonce that is read.
    static let longestNonce = 256

    /// Nil: malformed, or with the reserved `m=`.
    init?(_ message: [UInt8]) {
        let comma = UInt8(ascii: ",")
        guard let flagEnd = message.firstIndex(of: comma),
            let headerEnd = message[(flagEnd + 1)...].firstIndex(of: comma)
        else { return nil }
        switch ScramText.string(message[..<flagEnd]) {
        case "n": channelBinding = .unsupported
        case "y": channelBinding = .unoffered
        case .some(let flag) where flag.hasPrefix("p=") && flag.utf8.count > 2:
            channelBinding = .used(String(flag.dropFirst(2)))
        default: return nil
        }
        let authzid = message[(flagEnd + 1)..<headerEnd]
        if !authzid.isEmpty {
            guard let value = ScramText.value(authzid, "a"), let name = ScramText.saslname(value) else { return nil }
            self.authzid = name
        }
        gs2Header = Array(message[...headerEnd])
        bare = Array(message[(headerEnd + 1)...])
        let attributes = bare.split(separator: comma, omittingEmptySubsequences: false)
        // A reserved `m=` would stand first and is not known to anyone yet: fail (RFC 5802 §5.1).
        guard attributes.count >= 2, let user = ScramText.value(attributes[0], "n"),
            let username = ScramText.saslname(user), let nonce = ScramText.value(attributes[1], "r"),
            ScramText.isNonce(nonce), nonce.count <= Self.longestNonce,
            attributes[2...].allSatisfy(ScramText.isExtension)
        else { return nil }
        self.username = username
        self.nonce = Array(nonce)
    }
}

/// The client's last message (RFC 5802 §7).
struct ScramClientFinal: Hashable, Sendable {
    /// What `c=` carries, decoded.
    var channelBinding: [UInt8]
    var nonce: [UInt8]
    var proof: [UInt8]
    /// Everything before `,p=`, which is signed.
    var withoutProof: [UInt8]

    init?(_ message: [UInt8]) {
        let comma = UInt8(ascii: ",")
        let attributes = message.split(separator: comma, omittingEmptySubsequences: false)
        guard attributes.count >= 3, let binding = ScramText.value(attributes[0], "c"),
            let binding = Base64.decode(binding), let nonce = ScramText.value(attributes[1], "r"),
            ScramText.isNonce(nonce), let last = attributes.last, let proof = ScramText.value(last, "p"),
            let proof = Base64.decode(proof), attributes[2..<(attributes.count - 1)].allSatisfy(ScramText.isExtension)
        else { return nil }
        channelBinding = binding
        self.nonce = Array(nonce)
        self.proof = proof
        withoutProof = Array(message[..<(last.startIndex - 1)])
    }
}

/// The small grammar that both share.
enum ScramText {
    static func string(_ bytes: ArraySlice<UInt8>) -> String? {
        String(validating: bytes, as: UTF8.self)
    }

    /// What follows `name=`.
    static func value(_ attribute: ArraySlice<UInt8>, _ name: Unicode.Scalar) -> ArraySlice<UInt8>? {
        guard attribute.count >= 2, UInt32(attribute[attribute.startIndex]) == name.value,
            attribute[attribute.startIndex + 1] == UInt8(ascii: "=")
        else { return nil }
        return attribute.dropFirst(2)
    }

    /// UTF-8 with `=2C` for a comma and `=3D` for an equals sign; nil: empty, or any other `=`.
    static func saslname(_ bytes: ArraySlice<UInt8>) -> String? {
        guard !bytes.isEmpty, !bytes.contains(0) else { return nil }
        var decoded: [UInt8] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "=") else {
                decoded.append(byte)
                continue
            }
            switch rest.prefix(2) {
            case [UInt8(ascii: "2"), UInt8(ascii: "C")]: decoded.append(UInt8(ascii: ","))
            case [UInt8(ascii: "3"), UInt8(ascii: "D")]: decoded.append(UInt8(ascii: "="))
            default: return nil
            }
            rest = rest.dropFirst(2)
        }
        return String(validating: decoded, as: UTF8.self)
    }

    /// Printable ASCII but the comma.
    static func isNonce(_ bytes: ArraySlice<UInt8>) -> Bool {
        !bytes.isEmpty && bytes.allSatisfy { (0x21...0x7E).contains($0) && $0 != UInt8(ascii: ",") }
    }

    /// `letter=value`, ignored; `m` is none: it is what a client says that it must not be ignored.
    static func isExtension(_ attribute: ArraySlice<UInt8>) -> Bool {
        guard attribute.count >= 3, attribute[attribute.startIndex + 1] == UInt8(ascii: "="), !attribute.contains(0),
            string(attribute) != nil
        else { return false }
        switch attribute[attribute.startIndex] {
        case UInt8(ascii: "m"): return false
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): return true
        default: return false
        }
    }
}
