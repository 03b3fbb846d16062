import FuzzSupport
import XMPPCore

@testable import XMPPStream

/// One authentication after another, a step in each line: a letter, then what belongs to it.
///
/// - `o` what is offered: bits of a character for TLS, channel binding, PLAIN, a certificate, another one, ANONYMOUS
/// - `i` a mechanism, a blank, and its first message; `b` a mechanism without one
/// - `r` a response; `x` an abort; `s` the response of a client that knows the password, `S` one that sends this channel
///   binding instead
/// - `f` the keys or the account that is there; `g` with those of another password; `n` there is nothing
/// - `c` compare the password; `C` it was wrong
/// - `t` text of stored keys; `p` a password
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var exchange = Exchange()
    for line in Input.bytes(start, count).split(separator: UInt8(ascii: "\n")).prefix(32) {
        exchange.take(line.first ?? 0, line.dropFirst())
    }
    return 0
}

/// A server with one account, `romeo`, and what its owner knows.
private struct Exchange {
    private static let romeo = BareJID(canonicalLocal: "romeo", domain: "example.net")
    private static let juliet = BareJID(canonicalLocal: "juliet", domain: "example.net")
    private static let password = "wherefore"
    private static let policy = AuthenticationPolicy(
        mechanisms: Set(SASLMechanism.allCases), iterations: 2, secret: Array("secret".utf8))
    private static let bindings = ChannelBindings(exporter: [1, 2, 3], serverEndPoint: [4, 5, 6])
    private static let credentials = keys("wherefore", salt: "salt")
    private static let others = keys("art thou", salt: "pepper")

    private static func keys(_ text: String, salt: String) -> [HashFunction: ScramCredential] {
        guard let password = PreparedPassword(text) else { fail("\(text) is a password") }
        let keys = HashFunction.allCases.map {
            ($0, ScramCredential(deriving: $0, from: password, iterations: 2, salt: Array(salt.utf8)))
        }
        return Dictionary(uniqueKeysWithValues: keys)
    }

    private var server = SASLServer(
        host: "example.net", policy: policy, offered: [], bindings: .none, isSecure: false)
    private var offered: [SASLMechanism] = []
    private var certified: [BareJID] = []
    /// The question that the server waits for an answer to.
    private var asked: SASLServer.Step?
    /// The first message and its mechanism.
    private var first: [UInt8] = []
    private var mechanism: SASLMechanism?
    /// The server's first message of SCRAM.
    private var challenge: [UInt8] = []
    /// What the client has shown to know.
    private var knowsPassword = false

    init() {
        offer(0x0F)
    }

    mutating func take(_ letter: UInt8, _ rest: ArraySlice<UInt8>) {
        let bytes = Array(rest)
        let text = String(decoding: bytes, as: UTF8.self)
        switch letter {
        case UInt8(ascii: "o"): offer(Int(bytes.first ?? 0))
        case UInt8(ascii: "i"): begin(rest)
        case UInt8(ascii: "b"):
            (first, mechanism) = ([], SASLMechanism(rawValue: text))
            take(server.begin(mechanism: text, initial: nil))
        case UInt8(ascii: "r"): respond(bytes)
        case UInt8(ascii: "s"): prove(nil, text)
        case UInt8(ascii: "S"): prove(bytes, "")
        case UInt8(ascii: "x"): take(server.abort())
        case UInt8(ascii: "f"): found([Self.credentials])
        case UInt8(ascii: "g"): found([Self.credentials, Self.others])
        case UInt8(ascii: "n"): found([])
        case UInt8(ascii: "c"): compare(true)
        case UInt8(ascii: "C"): compare(false)
        case UInt8(ascii: "t"): Self.read(text)
        case UInt8(ascii: "p"): Self.prepare(text)
        default: break
        }
    }

    private mutating func offer(_ bits: Int) {
        certified = (bits & 8 != 0 ? [Self.romeo] : []) + (bits & 16 != 0 ? [Self.juliet] : [])
        let certified = certified
        offered = SASLMechanism.allCases.filter { mechanism in
            switch mechanism {
            case .plain: bits & 4 != 0
            case .external: !certified.isEmpty
            case .anonymous: bits & 32 != 0
            default: !mechanism.bindsChannel || bits & 2 != 0
            }
        }
        server = SASLServer(
            host: "example.net", policy: Self.policy, offered: offered,
            bindings: bits & 2 != 0 ? Self.bindings : .none, certified: certified, isSecure: bits & 1 != 0,
            random: .fixed(Array("SERVER".utf8)))
        asked = nil
    }

    private mutating func begin(_ line: ArraySlice<UInt8>) {
        let name = line.prefix { $0 != UInt8(ascii: " ") }
        first = Array(line.dropFirst(name.count + 1))
        mechanism = SASLMechanism(rawValue: String(decoding: name, as: UTF8.self))
        take(server.begin(mechanism: String(decoding: name, as: UTF8.self), initial: first))
    }

    private mutating func respond(_ message: [UInt8]) {
        if first.isEmpty { first = message }
        let wasWaiting = server.awaitsClient
        let step = server.respond(message)
        if !wasWaiting, case .failed = step {} else { check(wasWaiting, "a message nobody waited for fails") }
        take(step)
    }

    private mutating func found(_ keys: [[HashFunction: ScramCredential]]) {
        let step: SASLServer.Step?
        switch asked {
        case .lookUp(let request):
            let isRomeo = request.account == Self.romeo
            step = server.found(
                isRomeo ? request.hashes.prefix(1).flatMap { hash in keys.compactMap { $0[hash] } } : [])
        case .find(let account):
            step = server.foundAccount(!keys.isEmpty && account == Self.romeo)
        default:
            check(server.found([]) == nil && server.foundAccount(true) == nil, "an answer to no question is none")
            return
        }
        asked = nil
        guard let step else { fail("a question takes its answer") }
        if case .challenge(let message) = step { challenge = message }
        take(step)
    }

    private mutating func compare(_ isHonest: Bool) {
        guard case .check(let question) = asked else {
            check(server.checked(true) == nil, "an answer to no question is none")
            return
        }
        let matches = isHonest && question.matches()
        knowsPassword = matches
        asked = nil
        guard let step = server.checked(matches) else { fail("a question takes its answer") }
        take(step)
    }

    /// What a client would say that knows the password.
    private mutating func prove(_ binding: [UInt8]?, _ extensions: String) {
        let fields = challenge.split(separator: UInt8(ascii: ","))
        guard let hash = mechanism?.hash, let header = Self.header(of: first), fields.count >= 3,
            let salt = Base64.decode(String(decoding: fields[1].dropFirst(2), as: UTF8.self)),
            let iterations = Int(String(decoding: fields[2].dropFirst(2), as: UTF8.self)), iterations <= 2
        else { return }
        let gs2 = Array(first[..<header])
        let channel: [UInt8] =
            gs2.starts(with: Array("p=tls-exporter,".utf8))
            ? [1, 2, 3] : gs2.starts(with: Array("p=tls-server-end-point,".utf8)) ? [4, 5, 6] : []
        let salted = Crypto.pbkdf2(hash, password: Array(Self.password.utf8), salt: salt, iterations: iterations)
        let key = Crypto.hmac(hash, key: salted, Array("Client Key".utf8))
        let final = Array("c=\(Base64.encode(binding ?? gs2 + channel)),".utf8) + fields[0] + Array(extensions.utf8)
        let message = Array(first[header...]) + [0x2C] + challenge + [0x2C] + final
        let signature = Crypto.hmac(hash, key: Crypto.hash(hash, key), message)
        let proof = Base64.encode(zip(key, signature).map { $0 ^ $1 })
        knowsPassword = binding == nil || binding == gs2 + channel
        respond(final + Array(",p=\(proof)".utf8))
    }

    /// Where the signed part of a client's first message begins.
    private static func header(of message: [UInt8]) -> Int? {
        let commas = message.indices.filter { message[$0] == UInt8(ascii: ",") }
        return commas.count >= 2 ? commas[1] + 1 : nil
    }

    private mutating func take(_ step: SASLServer.Step) {
        asked = nil
        switch step {
        case .challenge:
            check(server.awaitsClient && !server.awaitsOwner, "after a challenge the client speaks")
        case .lookUp, .find, .check:
            check(server.awaitsOwner && !server.awaitsClient, "after a question the owner speaks")
            asked = step
        case .authenticated(let account, let used, _):
            check(mayEnter(account, used), "\(account) gets in by \(used)")
            check(offered.contains(used) && used == mechanism, "\(used) was not offered or not chosen")
            ended()
        case .failed(let failure, _):
            check(failure.element.firstIsCondition, "a failure has its condition")
            ended()
        }
    }

    private func mayEnter(_ account: BareJID, _ mechanism: SASLMechanism) -> Bool {
        switch mechanism {
        case .external: account == Self.romeo && certified.contains(account)
        case .anonymous: account != Self.romeo && account != Self.juliet && account.domain == "example.net"
        default: account == Self.romeo && knowsPassword
        }
    }

    private mutating func ended() {
        check(!server.awaitsClient && !server.awaitsOwner, "an end is an end")
        (challenge, knowsPassword) = ([], false)
    }

    // MARK: Texts

    private static func read(_ text: String) {
        guard let credential = ScramCredential(text: text) else { return }
        check(credential.text == text, "\(text.debugDescription) is written as it was read")
        check(credential.storedKey.count == credential.hash.length, "keys have the length of their hash")
        check(credential.serverKey.count == credential.hash.length, "keys have the length of their hash")
        check(ScramCredential.iterationRange.contains(credential.iterations), "iterations are bounded")
        check((1...256).contains(credential.salt.count), "salts are bounded")
    }

    private static func prepare(_ text: String) {
        guard let password = PreparedPassword(text) else { return }
        check(!password.bytes.isEmpty, "a password is not empty")
        let once = String(decoding: password.bytes, as: UTF8.self)
        check(PreparedPassword(once)?.bytes == password.bytes, "\(once.debugDescription) is prepared")
    }
}

extension Element {
    fileprivate var firstIsCondition: Bool { elements.first.map { $0.namespace == namespace } ?? false }
}
