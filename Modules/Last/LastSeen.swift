internal import ModuleKit

/// When an account was last here, and what it said when it left. On disk only: nobody asks often.
struct LastSeen: Equatable {
    static let store: StoreName = "last"
    private static let key = "seen"
    /// Bytes of a status that are kept.
    private static let longestStatus = 1024

    var time: Timestamp
    var status: String

    // MARK: Leaving

    /// The client says that it is not available any more (XEP-0012 §4: the status of the last unavailable presence).
    static func left(_ session: any Session, saying stanza: Stanza) {
        let account = session.account
        guard session.isAvailable, !isAnybodyElseHere(session, account) else { return }
        let status = stanza.root.first("status", .client)?.text ?? ""
        write(LastSeen(time: account.kernel.wallClock, status: cut(status)), account)
        session.state[Farewell.self] = Farewell(cut(status))
    }

    /// The session is over, with or without a word. An account has logged out when its last session ends.
    static func ended(_ session: any Session) {
        let account = session.account
        guard account.sessionCount <= 1 else { return }
        let status = session.state[Farewell.self]?.status ?? ""
        write(LastSeen(time: account.kernel.wallClock, status: status), account)
    }

    private static func isAnybodyElseHere(_ session: any Session, _ account: any Account) -> Bool {
        var found = false
        account.forEachSession { if $0 !== session, $0.isAvailable { found = true } }
        return found
    }

    private static func cut(_ status: String) -> String {
        guard status.utf8.count > longestStatus else { return status }
        var kept = status[...]
        while kept.utf8.count > longestStatus { kept = kept.prefix(kept.count / 2) }
        return String(kept)
    }

    /// What comes of it is nobody's concern: if the disk refuses, the earlier time stands.
    private static func write(_ seen: LastSeen, _ account: any Account) {
        guard let owner = account.owner else { return }
        account.kernel.storage.submit([.put(store, owner, key: key, value: seen.stored)]) { _ in }
    }

    // MARK: Asking

    static func read(of account: any Account, _ responder: IQResponder) throws(StanzaError) {
        // XEP-0012 §4: zero, and nothing else, while a client is connected.
        guard account.sessionCount == 0 else { return responder.answer(.success(answer(seconds: 0))) }
        guard let owner = account.owner else { throw .serviceUnavailable }
        let now = account.kernel.wallClock
        account.kernel.storage.read([owner]) { snapshot throws(StorageError) in
            try snapshot.value(store, owner, key: key)
        } then: { result in
            switch result {
            case .success(let bytes):
                // Nobody has ever been here, or nobody knows when.
                guard let seen = bytes.flatMap(LastSeen.init(stored:)), let age = seconds(from: seen.time, to: now)
                else { return responder.answer(.failure(.itemNotFound)) }
                responder.answer(.success(answer(seconds: age, seen.status)))
            case .failure: responder.answer(.failure(.resourceConstraint))
            }
        }
    }

    /// How far a clock may have been set back since, and the answer is still a moment ago.
    private static let slack: Int64 = 300

    /// Nil: one of the two clocks was wrong, or the stamp is of the future; what they differ by means nothing then.
    static func seconds(from time: Timestamp, to now: Timestamp) -> Int64? {
        guard time.isPlausible, now.isPlausible else { return nil }
        let seconds = (now.milliseconds - time.milliseconds) / 1000
        return seconds < -slack ? nil : max(0, seconds)
    }

    static func answer(seconds: Int64, _ status: String = "") -> Element {
        Element("query", .lastActivity, ["seconds": String(max(0, seconds))], status)
    }

    // MARK: On disk

    /// Milliseconds since 1970, U+0000, the status.
    var stored: [UInt8] { Array("\(time.milliseconds)\0\(status)".utf8) }

    init(time: Timestamp, status: String) {
        self.time = time
        self.status = status
    }

    init?(stored bytes: [UInt8]) {
        guard let end = bytes.firstIndex(of: 0),
            let milliseconds = Int64(String(decoding: bytes[..<end], as: UTF8.self)),
            (0...(1 << 52)).contains(milliseconds)
        else { return nil }
        time = Timestamp(milliseconds: milliseconds)
        status = String(decoding: bytes[(end + 1)...], as: UTF8.self)
    }
}

/// What a session's client said when it became unavailable.
final class Farewell {
    let status: String

    init(_ status: String) {
        self.status = status
    }
}
