internal import ModuleKit

/// Makes one change of one item: has it written, here alone or in one batch with the contact's own, and when it is on
/// disk makes it in memory and pushes it to the clients. Used within a turn of that contact.
struct RosterWriter {
    enum Outcome {
        case done
        case failed
        /// The contact's change goes first.
        case conflict
    }

    let roster: Roster
    let account: any Account

    /// - Parameters:
    ///   - old: the item as it is; nil: there is none.
    ///   - isQuiet: only a step of a change: clients are not told, and the turn goes on.
    ///   - isEdit: clients are told even if they see what they saw before (RFC 6121 §2.3.2, §2.4.2).
    ///   - theirs: rows of the contact that belong in the batch.
    ///   - carrying: sends the stanza that has the contact make its change; gets the rows that belong in that batch.
    ///   - ended: before clients are told.
    func write(
        _ new: RosterItem, over old: RosterItem?, isQuiet: Bool = false, isEdit: Bool = false,
        with theirs: SharedChange? = nil, carrying: ((SharedChange) -> Void)? = nil,
        then ended: @escaping (Outcome) -> Void
    ) {
        guard let owner = account.owner else {
            ended(.failed)
            return isQuiet ? () : roster.turns.done(new.contact)
        }
        let change = RosterChange(new, over: old, in: roster, of: owner, isQuiet: isQuiet, isEdit: isEdit)
        let write = Write(change, in: roster, of: account, ended)
        guard let carrying else { return write.submit(with: theirs?.mutations ?? []) }
        roster.turns.left(for: new.contact)
        let (home, confined) = (account.kernel.home, Confined(write))
        carrying(
            SharedChange(change.mutations) { outcome in
                home.perform { _ in confined.value.wasCarried(outcome) }
            })
    }

    static func pushed(_ item: RosterItem, version: String) -> Element {
        var query = Element("query", .roster)
        query[attribute: "ver"] = version
        query.append(item.element)
        return query
    }
}

/// A change on its way to the disk. On the account's loop.
private final class Write {
    private let change: RosterChange
    private let roster: Roster
    private let account: any Account
    private let ended: (RosterWriter.Outcome) -> Void

    init(
        _ change: RosterChange, in roster: Roster, of account: any Account,
        _ ended: @escaping (RosterWriter.Outcome) -> Void
    ) {
        self.change = change
        self.roster = roster
        self.account = account
        self.ended = ended
        roster.coming = roster.coming + change.growth
    }

    func wasCarried(_ outcome: SharedChange.Outcome) {
        roster.turns.returned(from: change.item.contact)
        switch outcome {
        case .committed: finish(.done)
        case .failed: finish(.failed)
        case .conflict: finish(.conflict)
        // The contact is elsewhere, is nobody, or has nothing to write: alone.
        case .untaken, .refused: submit(with: [])
        }
    }

    func submit(with theirs: [Mutation]) {
        let (home, confined) = (account.kernel.home, Confined(self))
        account.kernel.storage.submit(theirs + change.mutations) { result in
            home.perform { _ in
                if case .success = result { confined.value.finish(.done) } else { confined.value.finish(.failed) }
            }
        }
    }

    private func finish(_ outcome: RosterWriter.Outcome) {
        roster.coming = roster.coming - change.growth
        if case .done = outcome { change.make(in: roster) }
        if let revision = change.revision { roster.versions.end(revision) }
        ended(outcome)
        guard !change.isQuiet else { return }
        if case .done = outcome, change.revision != nil { push() }
        if case .conflict = outcome {
            roster.turns.giveWay(to: change.item.contact)
        } else {
            roster.turns.done(change.item.contact)
        }
        if roster.removedCount > RosterVersions.mostRemoved { roster.forgetOldest(of: account) }
    }

    /// RFC 6121 §2.2: to the sessions that asked for the roster.
    private func push() {
        let query = RosterWriter.pushed(change.item, version: roster.versions.text)
        account.forEachSession { session in
            if session.state[RosterInterest.self] != nil { session.push(query) }
        }
    }
}

extension Roster {
    /// Gives up the item that was removed first; versions from before that are no longer known.
    fileprivate func forgetOldest(of account: any Account) {
        guard let oldest = removed.min(by: { $0.revision < $1.revision })?.contact, let owner = account.owner else {
            return
        }
        turns.take(oldest, Turns.Turn(isOwn: true) { [self] in forget(oldest, owner, account) })
    }

    private func forget(_ contact: BareJID, _ owner: OwnerID, _ account: any Account) {
        guard let item = self[contact], !item.isNeeded else { return turns.done(contact) }
        remove(contact)
        versions.forgot(item)
        let (home, confined) = (account.kernel.home, Confined(self))
        account.kernel.storage.submit([
            .delete(RosterModule.store, owner, key: contact.description),
            .put(RosterModule.store, owner, key: RosterVersions.key, value: versions.stored),
        ]) { _ in
            // If they are still on disk, the next start knows more than it needs.
            home.perform { _ in confined.value.turns.done(contact) }
        }
    }
}

/// A change of one item, worked out and not made yet.
struct RosterChange: Sendable {
    let item: RosterItem
    /// Its number, if clients see another roster than before.
    let revision: Int64?
    let mutations: [Mutation]
    let isQuiet: Bool
    /// Its addition to the roster; never negative, for a change under way may fail.
    let growth: RosterExtent
    /// The row is not kept.
    private let isGone: Bool

    init(
        _ new: RosterItem, over old: RosterItem?, in roster: Roster, of owner: OwnerID, isQuiet: Bool, isEdit: Bool
    ) {
        var item = new
        let isSeen = !item.isHidden || old?.isHidden == false
        let isVisible = !isQuiet && isSeen && (isEdit || old.map { $0.element != item.element } ?? true)
        revision = isVisible ? roster.versions.begin() : nil
        if let revision { item.revision = revision }
        let growth = RosterExtent.growth(of: item, over: old)
        self.growth = RosterExtent(
            items: max(0, growth.items), requests: max(0, growth.requests), bytes: max(0, growth.bytes))
        isGone = !item.isNeeded && item.revision == 0
        let key = item.contact.description
        mutations = [
            isGone
                ? .delete(RosterModule.store, owner, key: key)
                : .put(RosterModule.store, owner, key: key, value: item.stored)
        ]
        self.item = item
        self.isQuiet = isQuiet
    }

    func make(in roster: Roster) {
        if isGone { roster.remove(item.contact) } else { roster.put(item) }
    }
}
