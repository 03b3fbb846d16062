import Foundation
import ModuleKit
import XMPPStream

/// One line of an import file, read and written.
enum ImportLine: Equatable, Sendable {
    /// Empty, or a comment.
    case nothing
    case password(BareJID, String)
    case keys(BareJID, [ScramCredential])
    /// Why it is no account; without the secret in it.
    case wrong(String)

    /// Whose account it makes.
    var address: BareJID? {
        switch self {
        case .password(let address, _), .keys(let address, _): address
        case .nothing, .wrong: nil
        }
    }

    /// Bytes of the longest line.
    static let longest = 4096

    /// Reads `address password` or `address SCRAM-SHA-256$iterations:salt$stored:server` (one or more sets of keys).
    /// The password is all that follows the white space after the address, spaces at its end included. The address may
    /// stand in double quotes, which no address has in it (RFC 7622 §3.3.1). A line that starts with `#` is a comment,
    /// and wrong if it could as well be an account: nothing is passed over that may have been meant. `hosts` are the
    /// canonical names of the server's domains.
    init(_ bytes: some Collection<UInt8>, hosts: Set<String>) {
        guard bytes.count <= Self.longest else {
            self = .wrong("the line is longer than \(Self.longest) bytes")
            return
        }
        guard var text = String(validating: bytes, as: UTF8.self)?[...] else {
            self = .wrong("the line is not UTF-8")
            return
        }
        if text.utf8.last == UInt8(ascii: "\r") { text = Substring(text.unicodeScalars.dropLast()) }
        let isBlank = { (character: Unicode.Scalar) in character == " " || character == "\t" }
        let scalars = text.unicodeScalars.drop(while: isBlank)
        guard let first = scalars.first else {
            self = .nothing
            return
        }
        var address = String(scalars.prefix { !isBlank($0) })
        let secret = String(scalars.drop { !isBlank($0) }.drop(while: isBlank))
        if first == "#" {
            self = Self.comment(address, secret, hosts)
            return
        }
        if first == "\"", address.utf8.count > 1, address.unicodeScalars.last == "\"" {
            address = String(address.unicodeScalars.dropFirst().dropLast())
        }
        guard let jid = BareJID(address), !jid.local.isEmpty else {
            self = .wrong("\(address.quotedForPrint) is not an address like user@example.org")
            return
        }
        guard hosts.contains(jid.domain) else {
            self = .wrong("\(jid.domain) is not a host of this server")
            return
        }
        guard !secret.isEmpty else {
            self = .wrong("there is no password behind \(jid.description.quotedForPrint)")
            return
        }
        guard secret.hasPrefix("SCRAM-"), secret.contains("$") else {
            let isPossible = PreparedPassword(secret) != nil
            self = isPossible ? .password(jid, secret) : .wrong("the password is too long or no client can send it")
            return
        }
        var keys: [ScramCredential] = []
        for field in secret.split(whereSeparator: { $0 == " " || $0 == "\t" }) {
            guard let key = ScramCredential(text: String(field)), !keys.contains(where: { $0.hash == key.hash }) else {
                self = .wrong("the keys are not of the form SCRAM-SHA-256$iterations:salt$stored:server")
                return
            }
            keys.append(key)
        }
        self = .keys(jid, keys)
    }

    /// - Parameter word: the text before the first white space.
    private static func comment(_ word: String, _ rest: String, _ hosts: Set<String>) -> ImportLine {
        guard let address = BareJID(word), !address.local.isEmpty, !rest.isEmpty,
            hosts.contains(address.domain) || rest.hasPrefix("SCRAM-")
        else { return .nothing }
        return .wrong(
            """
            it may be a comment or the account \(address.description.printable(limit: 200)): begin a comment with \
            "# ", and put the address of an account in double quotes
            """)
    }

    /// The line that is read as `.keys`.
    static func text(_ address: String, _ keys: [ScramCredential]) -> String {
        // Old exports have no quotes, so only those names have them that need them.
        let name = address.utf8.first == UInt8(ascii: "#") ? "\"\(address)\"" : address
        return ([name] + keys.map(\.text)).joined(separator: " ")
    }
}

/// The lines of a file or pipe, one after the other, however long the file is. A line over `ImportLine.longest` comes
/// cut to one byte more than that.
struct LineSource: ~Copyable {
    private let descriptor: Int32
    private let isOwned: Bool
    private var chunk: [UInt8] = []
    private var position = 0
    private var isAtEnd = false

    /// - Parameter path: `-` for standard input.
    init(_ path: String) throws(CommandError) {
        isOwned = path != "-"
        descriptor = isOwned ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO
        guard descriptor >= 0 else { throw .unavailable("\(path) cannot be read: \(systemError())") }
    }

    deinit { if isOwned { close(descriptor) } }

    /// The next line without its end; nil at the end of the file.
    mutating func next() throws(CommandError) -> [UInt8]? {
        var line: [UInt8] = []
        var isBegun = false
        while true {
            if position == chunk.count {
                guard try fill() else { return isBegun ? line : nil }
            }
            isBegun = true
            let rest = chunk[position...]
            let end = rest.firstIndex(of: UInt8(ascii: "\n"))
            let piece = rest[..<(end ?? rest.endIndex)]
            line.append(contentsOf: piece.prefix(max(0, ImportLine.longest + 1 - line.count)))
            position = end.map { $0 + 1 } ?? chunk.count
            if end != nil { return line }
        }
    }

    private mutating func fill() throws(CommandError) -> Bool {
        guard !isAtEnd else { return false }
        var space = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = read(descriptor, &space, space.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .unavailable("the file cannot be read: \(systemError())") }
            isAtEnd = count == 0
            chunk = Array(space[..<count])
            position = 0
            return !isAtEnd
        }
    }
}
