import ModuleKit

/// Who looks at the messages of one account, and what is on its way to them.
struct Browsing {
    /// Copies of messages for one session, sent as it takes them.
    final class Copying {
        let session: SessionRef
        /// Nil: all.
        let ids: [Int64]?
        let dress: (WaitingMessage) -> Stanza
        let then: (Result<Void, StanzaError>) -> Void
        /// How many of the ids were looked up.
        var next = 0
        /// The last row that was looked at.
        var cursor: Int64 = 0
        var isReading = false
        /// Rows that the next page may have; more when it is known how large they are.
        var pageRows = 1

        init(
            _ ids: [Int64]?, to session: SessionRef, _ dress: @escaping (WaitingMessage) -> Stanza,
            _ then: @escaping (Result<Void, StanzaError>) -> Void
        ) {
            self.session = session
            self.ids = ids
            self.dress = dress
            self.then = then
        }
    }

    /// Copyings of one session at a time.
    static let most = 4

    var sessions: Set<SessionRef> = []
    var copyings: [Copying] = []
    var isCopying: Bool { !copyings.isEmpty }
    var isBusy: Bool { !sessions.isEmpty || isCopying }
}

extension AccountSpool: Mailbox {
    /// Rows that are looked at in one turn, once it is known how large they are.
    private static var page: Int { 50 }

    func browse(by session: any Session) {
        guard let session = account.localSession(session.address.resource), session.isConnected,
            browsing.sessions.insert(session.ref).inserted
        else { return }
        stopDraining(because: session)
    }

    /// The connection is gone, and with it what the session asked for. False: it did not look.
    func stopBrowsing(_ session: ClientSession) -> Bool {
        stopCopying(to: session)
        return browsing.sessions.remove(session.ref) != nil
    }

    /// What it asked for is not answered any more.
    private func stopCopying(to session: ClientSession) {
        browsing.copyings.removeAll { $0.session == session.ref }
    }

    // MARK: Looking

    func count(_ then: @escaping (Result<Int, StanzaError>) -> Void) {
        // What the store holds when it is asked, without what sessions have.
        let hidden = leased.subtracting(leaving).count
        read(then) { snapshot, owner throws(StorageError) in
            try snapshot.spoolCount(Self.store, owner)
        } then: { spool, count, then in
            then(.success(max(0, count - hidden)))
        }
    }

    func forEach(_ body: @escaping (WaitingMessage) -> Bool, then: @escaping (Result<Void, StanzaError>) -> Void) {
        look(after: 0, 1, body, then)
    }

    /// - Parameter limit: the rows of this page. Each may be as large as a stanza can be.
    private func look(
        after cursor: Int64, _ limit: Int, _ body: @escaping (WaitingMessage) -> Bool,
        _ then: @escaping (Result<Void, StanzaError>) -> Void
    ) {
        let before = leased
        read(then) { snapshot, owner throws(StorageError) in
            try snapshot.spool(Self.store, owner, after: cursor, limit: limit)
        } then: { spool, rows, then in
            for row in rows where !before.contains(row.id) {
                if let message = spool.message(row), !body(message) { return then(.success(())) }
            }
            guard rows.count == limit, let last = rows.last else { return then(.success(())) }
            let next = Self.pageRows(after: rows, most: Self.page)
            let held = Confined(spool.account)
            spool.shard.loop.later { withExtendedLifetime(held) { spool.look(after: last.id, next, body, then) } }
        }
    }

    /// Nil: a session has it, it is too old, or it cannot be read.
    private func message(_ row: SpoolRow) -> WaitingMessage? {
        guard !leased.contains(row.id), !isExpired(row) else { return nil }
        guard let stanza = shard.stanzaReader.read(row.stanza) else {
            setAside(row)
            return nil
        }
        return WaitingMessage(id: row.id, stamp: row.stamp, stanza: stanza)
    }

    // MARK: Copying

    func send(
        _ ids: [Int64]?, to session: any Session, dress: @escaping (WaitingMessage) -> Stanza,
        then: @escaping (Result<Void, StanzaError>) -> Void
    ) {
        let ref = session.ref
        guard browsing.copyings.count(where: { $0.session == ref }) < Browsing.most else {
            return then(.failure(.resourceConstraint))
        }
        let copying = Browsing.Copying(ids, to: ref, dress, then)
        // Counted from here on; sent when it is known that all are there.
        browsing.copyings.append(copying)
        guard let ids else { return copyOn(copying) }
        copying.isReading = true
        exist(ids) { spool, result in
            copying.isReading = false
            guard case .success = result else { return spool.finish(copying, result) }
            spool.copyOn(copying)
        }
    }

    /// The session can take more.
    func copyOn(to session: ClientSession) {
        if let copying = browsing.copyings.first(where: { $0.session == session.ref }) { copyOn(copying) }
    }

    private func copyOn(_ copying: Browsing.Copying) {
        guard !copying.isReading, browsing.copyings.contains(where: { $0 === copying }) else { return }
        guard let session = shard.sessions[copying.session.id] else {
            return finish(copying, .failure(.recipientUnavailable))
        }
        // One after the other.
        guard browsing.copyings.first(where: { $0.session == copying.session }) === copying else { return }
        session.isDraining = true
        let room = min(copying.pageRows, session.drainRoom)
        guard room > 0 else { return }
        copying.isReading = true
        let (cursor, all) = (copying.cursor, copying.ids)
        let ids = all.map { Array($0.dropFirst(copying.next).prefix(room)) }
        read(copying) { snapshot, owner throws(StorageError) in
            guard let ids else { return try snapshot.spool(Self.store, owner, after: cursor, limit: room) }
            var rows: [SpoolRow] = []
            for id in ids { rows += try snapshot.spool(Self.store, owner, after: id - 1, limit: 1) }
            return rows
        } failed: { spool, copying in
            spool.finish(copying, .failure(.resourceConstraint))
        } then: { spool, rows, copying in
            copying.isReading = false
            spool.copy(rows, room, copying)
        }
    }

    private func copy(_ rows: [SpoolRow], _ room: Int, _ copying: Browsing.Copying) {
        guard browsing.copyings.contains(where: { $0 === copying }) else { return }
        guard let session = shard.sessions[copying.session.id], session.isConnected else {
            return finish(copying, .failure(.recipientUnavailable))
        }
        for row in rows {
            copying.cursor = row.id
            if let ids = copying.ids, !ids.dropFirst(copying.next).prefix(room).contains(row.id) { continue }
            guard !session.hasEnded, let message = message(row) else { continue }
            // A copy that nobody misses: the message itself stays where it is.
            let delayed = message.stanza.delayed(by: account.address.domain, since: row.stamp)
            let shown = WaitingMessage(id: row.id, stamp: row.stamp, stanza: delayed)
            let copy = Delivery(Envelope(copying.dress(shown)), stamp: row.stamp)
            copy.isDelivered = true
            session.send(copy)
        }
        copying.pageRows = Self.pageRows(after: rows, most: 10)
        copying.next += room
        let isDone = copying.ids.map { copying.next >= $0.count } ?? (rows.count < room)
        if isDone { finish(copying, .success(())) } else { copyOn(copying) }
    }

    private func finish(_ copying: Browsing.Copying, _ result: Result<Void, StanzaError>) {
        browsing.copyings.removeAll { $0 === copying }
        copying.then(result)
        guard let session = shard.sessions[copying.session.id] else { return }
        if let next = browsing.copyings.first(where: { $0.session == session.ref }) {
            copyOn(next)
        } else if case .draining(session.ref) = gate {
            return
        } else {
            session.isDraining = false
        }
    }

    // MARK: Removing

    func remove(_ ids: [Int64]?, then: @escaping (Result<Void, StanzaError>) -> Void) {
        guard let ids else { return removeAll(then) }
        let rows = Set(ids)
        // Leased to nobody, so that they are neither sent nor removed a second time meanwhile.
        guard leased.isDisjoint(with: rows) else { return then(.failure(.itemNotFound)) }
        leased.formUnion(rows)
        exist(Array(rows), evenLeased: true) { spool, result in
            guard case .success = result else {
                spool.free(rows)
                return then(result)
            }
            spool.remove(leased: rows, then)
        }
    }

    /// Those that no session has, nor gets just now.
    private func removeAll(_ then: @escaping (Result<Void, StanzaError>) -> Void) {
        var found: Set<Int64> = []
        forEach { message in
            found.insert(message.id)
            return true
        } then: { [self] result in
            guard case .success = result else { return then(result) }
            let rows = found.subtracting(leased)
            guard !rows.isEmpty else { return then(.success(())) }
            leased.formUnion(rows)
            remove(leased: rows, then)
        }
    }

    private func remove(leased rows: Set<Int64>, _ then: @escaping (Result<Void, StanzaError>) -> Void) {
        write(.unspool(Self.store, owner, ids: Array(rows))) { [self] result in
            if case .success = result {
                leased.subtract(rows)
                noteDeleted(rows)
            } else {
                free(rows)
            }
            then(result)
        }
    }

    // MARK: The store

    private var owner: OwnerID { account.owner ?? OwnerID(0) }

    /// Whether all of them are there and free.
    private func exist(
        _ ids: [Int64], evenLeased: Bool = false, then: @escaping (AccountSpool, Result<Void, StanzaError>) -> Void
    ) {
        read(then) { snapshot, owner throws(StorageError) in
            for id in ids where try snapshot.spool(Self.store, owner, after: id - 1, limit: 1).first?.id != id {
                return false
            }
            return true
        } failed: { spool, then in
            then(spool, .failure(.resourceConstraint))
        } then: { spool, areThere, then in
            let areFree = evenLeased || spool.leased.isDisjoint(with: ids)
            then(spool, areThere && areFree ? .success(()) : .failure(.itemNotFound))
        }
    }

    private func read<Value: Sendable, Answer>(
        _ answer: @escaping (Result<Answer, StanzaError>) -> Void,
        _ body: @escaping @Sendable (any StorageSnapshot, OwnerID) throws(StorageError) -> Value,
        then: @escaping (AccountSpool, Value, @escaping (Result<Answer, StanzaError>) -> Void) -> Void
    ) {
        read(answer, body) { _, answer in
            answer(.failure(.resourceConstraint))
        } then: { spool, value, answer in
            then(spool, value, answer)
        }
    }

    /// - Parameter carried: for those who come after the read, on the loop; the account is kept alive until then.
    private func read<Value: Sendable, Carried>(
        _ carried: Carried,
        _ body: @escaping @Sendable (any StorageSnapshot, OwnerID) throws(StorageError) -> Value,
        failed: @escaping (AccountSpool, Carried) -> Void,
        then: @escaping (AccountSpool, Value, Carried) -> Void
    ) {
        let (loop, owner) = (shard.loop, owner)
        let held = Confined((account, carried, failed, then))
        shard.storage.read([owner]) { snapshot throws(StorageError) in
            try body(snapshot, owner)
        } then: { [self] result in
            loop.post(
                .work {
                    let (_, carried, failed, then) = held.value
                    switch result {
                    case .success(let value): then(self, value, carried)
                    case .failure: failed(self, carried)
                    }
                })
        }
    }

    private func write(_ mutation: Mutation, _ then: @escaping (Result<Void, StanzaError>) -> Void) {
        let (loop, held) = (shard.loop, Confined((account, then)))
        shard.storage.submit([mutation]) { [self] result in
            loop.post(
                .work {
                    switch result {
                    case .success: held.value.1(.success(()))
                    case .failure:
                        self.shard.counts.failedCommits += 1
                        held.value.1(.failure(.resourceConstraint))
                    }
                })
        }
    }
}
