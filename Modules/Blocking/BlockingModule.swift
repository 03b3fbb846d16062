public import ModuleKit

/// XEP-0191: users block addresses, and neither hear from them nor are heard.
///
/// The blocklist is a part of the account's privacy list (§5), so this module knows how to change that list, and the rules
/// themselves are obeyed elsewhere (`HostBuilder.keepRules`).
public struct BlockingModule: Module {
    public static let info = ModuleInfo(
        "blocking", [.xep(191, version: "1.3")], provides: [BlockingService.self])

    public struct Options: ModuleOptions {
        var limit: Int
        var bytes: Int
        /// Nil: as much as they like.
        var firstContact: Int?

        public init(from section: inout ConfigSection) {
            limit = section.int("limit", default: 2000, in: 10...100_000, "Most addresses on one account's blocklist.")
            bytes = section.bytes(
                "bytes", default: 256 << 10, in: (4 << 10)...(16 << 20),
                "Most bytes of one account's blocklist and privacy lists together.")
            firstContact = section.int(
                "first_contact", in: 1...100,
                "Messages that a stranger may send to an account until it answers. Strangers have no subscription in the "
                    + "roster, and the account has never sent them anything. Unless set, as many as they like.")
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.blocking)
        let keeper = host.keepRules()
        let service = BlockingService()
        host.provide(BlockingService.self, service)
        keeper.watch { change in tell(change, keeper) }
        if let limit = options.firstContact {
            let first = FirstContact(limit: limit, contacts: keeper.contacts)
            host.loadAccount(Strangers.self, Strangers.read)
            let said = Interest(kinds: Interest.message.kinds | Interest.presence.kinds).except(.error)
            host.received.add(.admit, on: said) { event in first.sent(&event) }
            host.arriving.add(.admit, on: .message) { event in first.arrived(&event) }
        }
        host.iq(.get, .blocking, "blocklist", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            get(request, keeper, responder)
        }
        host.iq(.set, .blocking, "block", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            guard let account = request.account else { throw .serviceUnavailable }
            try block(BlockRequest(request.payload, of: account, read: service.read), account, keeper, responder)
        }
        host.iq(.set, .blocking, "unblock", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            guard let account = request.account else { throw .serviceUnavailable }
            let isAll = request.payload.firstElement == nil
            let addresses = isAll ? nil : try BlockRequest(request.payload, of: account).addresses
            unblock(addresses, account, keeper, responder)
        }
    }

    /// §3.2. Who asks is told of changes from now on.
    private func get(_ request: IQRequest, _ keeper: RuleKeeper, _ responder: IQResponder) {
        if let session = request.session { _ = session.state.obtain(BlocklistInterest.self) { BlocklistInterest() } }
        let table = request.account?.state[RuleBook.self]?.defaultTable
        request.atPace(bytes: table?.byteCount ?? 0) {
            let blocked = request.account.map { Blocklist.blocked(in: $0, keeper) } ?? []
            responder.answer(.success(BlockRequest.element("blocklist", blocked)))
        }
    }

    /// §3.3.
    private func block(
        _ request: BlockRequest, _ account: any Account, _ keeper: RuleKeeper, _ responder: IQResponder
    ) {
        let options = options
        keeper.change(account) { book throws(StanzaError) in
            let blocked = Set(Blocklist.blocked(in: account, keeper))
            let new = request.addresses.filter { !blocked.contains($0) }
            let rows = request.notes.flatMap(\.rows)
            guard !new.isEmpty || !rows.isEmpty else { return nil }
            let name = book.defaultName ?? Blocklist.freeName(in: book)
            let old = Blocklist(book.defaultTable)
            let items = old.blocking(new)
            var edit = RuleEdit(lists: [name: items], choice: book.defaultName == nil ? .list(name) : .same)
            guard Blocklist(RuleTable(items)).listed.count <= max(options.limit, old.listed.count),
                book.storedBytes(after: edit) <= options.bytes
            else { throw .resourceConstraint.saying("the blocklist is full") }
            if new.isEmpty { edit = RuleEdit() }
            edit.rows = rows
            return edit
        } then: { result in
            if case .success = result { request.notes.forEach { $0.kept() } }
            responder.answer(result.map { nil })
        }
    }

    /// §3.4, and with nil §3.5.
    private func unblock(
        _ addresses: [JID]?, _ account: any Account, _ keeper: RuleKeeper, _ responder: IQResponder
    ) {
        // Of an account that is not stored nothing is blocked.
        guard !account.isTemporary else { return responder.answer(.success(nil)) }
        keeper.change(account) { book throws(StanzaError) in
            guard let name = book.defaultName, let table = book.defaultTable else { return nil }
            let items = Blocklist(table).unblocking(addresses)
            guard items.count < table.items.count else { return nil }
            // A list without items is none (XEP-0016 §2.1).
            var edit = RuleEdit(lists: [name: items])
            if items.isEmpty { edit = RuleEdit(lists: [name: nil], choice: .none) }
            edit.unblocksAll = addresses == nil
            return edit
        } then: { result in
            responder.answer(result.map { nil })
        }
    }

    /// Whatever changed the list: those who asked for it hear what is blocked now and was not, and the other way round.
    private func tell(_ change: RuleChange, _ keeper: RuleKeeper) {
        guard change.before !== change.after else { return }
        let account = change.account
        var interested: [any Session] = []
        account.forEachSession { if $0.state[BlocklistInterest.self] != nil { interested.append($0) } }
        guard !interested.isEmpty else { return }
        let (before, after) = (
            Blocklist.blocked(in: change.before, of: account, keeper),
            Blocklist.blocked(in: change.after, of: account, keeper)
        )
        var pushes: [Element] = []
        if change.edit.unblocksAll {
            pushes.append(BlockRequest.element("unblock", []))
        } else {
            let gone = before.subtracting(after)
            if !gone.isEmpty { pushes.append(BlockRequest.element("unblock", gone)) }
            let new = after.subtracting(before)
            if !new.isEmpty { pushes.append(BlockRequest.element("block", new)) }
        }
        for session in interested {
            for push in pushes { session.push(push) }
        }
    }
}

extension Blocklist {
    static func blocked(in account: any Account, _ keeper: RuleKeeper) -> [JID] {
        blocked(in: account.state[RuleBook.self]?.defaultTable, of: account, keeper)
    }

    static func blocked(in table: RuleTable?, of account: any Account, _ keeper: RuleKeeper) -> [JID] {
        blocked(in: table) { RuleTable.Relation(of: $0.bare, to: account, keeper.contacts) }
    }
}

extension [JID] {
    fileprivate func subtracting(_ others: [JID]) -> [JID] {
        let others = Set(others)
        return filter { !others.contains($0) }
    }
}

/// A session that asked for the blocklist: it gets pushes (XEP-0191 §3.3).
final class BlocklistInterest {}
