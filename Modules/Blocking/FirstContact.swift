internal import ModuleKit

/// How much a stranger may say before the account answers: somebody without a subscription in the roster, to whom the
/// account has never sent anything.
struct FirstContact {
    /// Messages of one stranger.
    let limit: Int
    let contacts: (any ContactService)?

    /// What is sent on would have to wait for an answer, and the one who sends it knows already that there is somebody:
    /// what came before was not refused.
    private static let refusal = StanzaError(
        .policyViolation, type: .wait, text: "wait until your messages have been answered")

    /// The account says something to somebody, who is no stranger any more.
    func sent(_ event: inout Received) -> Verdict {
        let (account, stanza) = (event.session.account, event.envelope.stanza)
        guard let peer = stanza.to?.bare, peer != account.address, stanza.type == .available || stanza.kind == .message,
            stanza.type != .error, let known = account.state[Strangers.self]
        else { return .next }
        known.answer(peer, account)
        return .next
    }

    func arrived(_ event: inout Arriving) -> Verdict {
        let (account, stanza) = (event.account, event.envelope.stanza)
        // A room sends only to who is in it, and has been sent presence by it.
        guard let from = stanza.from, stanza.type != .error, stanza.type != .groupchat,
            let known = account.state[Strangers.self], isStranger(from.bare, to: account),
            !known.isAnswered(from.bare)
        else { return .next }
        let isSubstance = stanza.classification.storage == .keep
        if known.count(of: from.bare) < limit {
            if isSubstance { known.note(from.bare, account) }
            return .next
        }
        return isSubstance ? .reject(Self.refusal) : .handled
    }

    private func isStranger(_ peer: BareJID, to account: any Account) -> Bool {
        if peer == account.address || peer.local.isEmpty && peer.domain == account.address.domain { return false }
        guard let contacts else { return true }
        return !contacts.isSubscriber(peer, to: account) && !contacts.isSubscribed(account, to: peer)
    }
}

/// Whom an account has written to, and how much strangers have. In memory and on disk; on the account's loop.
final class Strangers: Weighed {
    private static let store: StoreName = "strangers"
    /// Of each sort; the one that came first is forgotten for a further one.
    private static let most = 500
    /// What is kept of somebody who was answered.
    private static let answered: [UInt8] = [0]

    private var counts = Remembered()
    private var known = Remembered()

    init(rows: [(key: String, value: [UInt8])]) {
        for (key, value) in rows {
            guard let address = BareJID(key), let first = value.first else { continue }
            if first == 0 {
                _ = known.set(address, 0, Self.most)
            } else {
                _ = counts.set(address, Int(first), Self.most)
            }
        }
    }

    static func read(
        _ snapshot: any StorageSnapshot, _ owner: OwnerID
    ) throws(StorageError) -> Moved<Strangers> {
        Moved(Strangers(rows: try snapshot.entries(store, owner)))
    }

    var byteCount: Int { 64 + counts.byteCount + known.byteCount }

    func isAnswered(_ peer: BareJID) -> Bool { known[peer] != nil }

    func count(of peer: BareJID) -> Int { counts[peer] ?? 0 }

    func note(_ peer: BareJID, _ account: any Account) {
        let count = min(count(of: peer) + 1, 255)
        let forgotten = counts.set(peer, count, Self.most)
        write(peer, [UInt8(count)], forgotten, account)
    }

    func answer(_ peer: BareJID, _ account: any Account) {
        guard !isAnswered(peer) else { return }
        counts.remove(peer)
        let forgotten = known.set(peer, 0, Self.most)
        write(peer, Self.answered, forgotten, account)
    }

    /// If the disk refuses, a restart forgets it.
    private func write(_ peer: BareJID, _ value: [UInt8], _ forgotten: BareJID?, _ account: any Account) {
        guard let owner = account.owner else { return }
        var rows: [Mutation] = [.put(Self.store, owner, key: peer.description, value: value)]
        if let forgotten { rows.append(.delete(Self.store, owner, key: forgotten.description)) }
        account.kernel.storage.submit(rows) { _ in }
    }
}

/// A number for each of so many addresses.
private struct Remembered {
    private var values: [BareJID: Int] = [:]
    private var order: [BareJID] = []
    private(set) var byteCount = 0

    subscript(_ address: BareJID) -> Int? { values[address] }

    /// - Returns: the one that is forgotten for it.
    mutating func set(_ address: BareJID, _ value: Int, _ most: Int) -> BareJID? {
        guard values.updateValue(value, forKey: address) == nil else { return nil }
        order.append(address)
        byteCount += Self.weight(address)
        guard order.count > most, let oldest = order.first else { return nil }
        remove(oldest)
        return oldest
    }

    mutating func remove(_ address: BareJID) {
        guard values.removeValue(forKey: address) != nil else { return }
        order.removeAll { $0 == address }
        byteCount -= Self.weight(address)
    }

    private static func weight(_ address: BareJID) -> Int { 96 + address.local.utf8.count + address.domain.utf8.count }
}
