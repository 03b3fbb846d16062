internal import ModuleKit

/// The sessions of an account that have asked for copies. Kept with the account as long as there are any.
final class CopiedSessions {
    private var sessions: [SessionRef] = []
    var conversations = CopiedMessages()

    static func of(_ account: any Account) -> CopiedSessions {
        account.state.obtain(CopiedSessions.self) { CopiedSessions() }
    }

    static func remove(_ session: SessionRef, of account: any Account) {
        guard let copied = account.state[CopiedSessions.self] else { return }
        copied.sessions.removeAll { $0 == session }
        if copied.sessions.isEmpty { account.state[CopiedSessions.self] = nil }
    }

    func insert(_ session: SessionRef) {
        if !sessions.contains(session) { sessions.append(session) }
    }

    func contains(_ session: SessionRef) -> Bool { sessions.contains(session) }

    func hasOther(than session: SessionRef) -> Bool { sessions.contains { $0 != session } }
}

/// The last messages that were copied, so that an error in answer to one is known for that.
struct CopiedMessages {
    private static let most = 256
    private var marks: [Int] = []
    private var oldest = 0

    mutating func note(_ id: String, with peer: BareJID) {
        let mark = Self.mark(id, peer)
        guard marks.count == Self.most else { return marks.append(mark) }
        marks[oldest] = mark
        oldest = (oldest + 1) % Self.most
    }

    func contains(_ id: String, with peer: BareJID) -> Bool { marks.contains(Self.mark(id, peer)) }

    private static func mark(_ id: String, _ peer: BareJID) -> Int {
        var hasher = Hasher()
        hasher.combine(id)
        hasher.combine(peer)
        return hasher.finalize()
    }
}
