internal import ModuleKit

/// Changes of a roster that are under way: with one contact one after the other, each from its beginning until it is on
/// disk. So a change always begins with what is true, and none has to be taken back.
final class Turns {
    struct Turn {
        /// Of the account's own client; else something the contact sent.
        var isOwn: Bool
        /// Bytes that it holds while it waits.
        var bytes = 0
        /// Calls `Turns.done` in the end.
        var begin: () -> Void
    }

    /// Further changes than these, of all contacts, are refused: they come faster than the disk takes them.
    private static let most = 1000
    private static let mostBytes = 1 << 20

    private var waiting: [BareJID: [Turn]] = [:]
    /// Changes under way or waiting.
    private var count = 0
    private var bytes = 0
    /// Contacts at whose account the first change waits to be written.
    private var away: Set<BareJID> = []

    var isFull: Bool { count >= Self.most || bytes >= Self.mostBytes }

    /// Begins now, or behind what is under way. What the contact sent goes before what our client wants next: the
    /// contact's account may wait for it, and must not wait for something that waits for that account.
    func take(_ contact: BareJID, _ turn: Turn) {
        count += 1
        bytes += turn.bytes
        guard let turns = waiting[contact], let first = turns.first else {
            waiting[contact] = [turn]
            return turn.begin()
        }
        let next = turn.isOwn ? nil : turns.dropFirst().firstIndex { $0.isOwn }
        waiting[contact] = [first] + turns[1..<(next ?? turns.count)] + [turn] + turns[(next ?? turns.count)...]
    }

    func done(_ contact: BareJID) {
        count -= 1
        if let done = waiting[contact]?.removeFirst() { bytes -= done.bytes }
        beginNext(contact)
    }

    /// The change under way is on its way to the contact's account.
    func left(for contact: BareJID) {
        away.insert(contact)
    }

    /// It is known what became of it.
    func returned(from contact: BareJID) {
        away.remove(contact)
    }

    func isAway(_ contact: BareJID) -> Bool { away.contains(contact) }

    /// The contact's account has a change for us that goes first, and that waits here.
    func giveWay(to contact: BareJID) {
        guard var turns = waiting[contact] else { return }
        if let index = turns.firstIndex(where: { !$0.isOwn }) {
            turns.insert(turns.remove(at: index), at: 0)
            waiting[contact] = turns
        }
        beginNext(contact)
    }

    private func beginNext(_ contact: BareJID) {
        guard let next = waiting[contact]?.first else {
            waiting[contact] = nil
            return
        }
        next.begin()
    }
}
