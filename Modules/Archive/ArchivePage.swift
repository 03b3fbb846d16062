internal import ModuleKit

/// One page on its way to a client, at the pace the client takes it. Messages are read a portion at a time, so that a
/// client that does not read costs one portion and no more. Confined to the account's loop.
final class ArchivePage {
    private let wish: ArchiveWish
    private let owner: OwnerID
    private let session: any Session
    private let renderer: ResultRenderer.Results
    private let ended: (Result<Element?, StanzaError>) -> Void
    private var plan: PagePlan?
    /// In the order in which they are sent; those from `next` on have not been read.
    private var ids: [Int64] = []
    private var next = 0
    private var rows: ArraySlice<ArchiveRow> = []

    /// Bytes of the messages that are read at once, if it is more than one.
    private static let portionBytes = 128 << 10
    /// Messages that one turn sends.
    private static let turnRows = 25

    /// - Parameter ended: called once; not at all when the session ends before.
    init(
        _ wish: ArchiveWish, _ owner: OwnerID, to session: any Session, as renderer: ResultRenderer.Results,
        _ ended: @escaping (Result<Element?, StanzaError>) -> Void
    ) {
        self.wish = wish
        self.owner = owner
        self.session = session
        self.renderer = renderer
        self.ended = ended
    }

    /// The answer of a storage thread.
    private enum Found: Sendable {
        /// Nil: an id of the query is not in the archive.
        case plan(PagePlan?)
        case rows([ArchiveRow], ofIDs: Int)
    }

    /// - Parameter last: the newest id that counts.
    func read(upTo last: Int64) {
        let (wish, owner) = (wish, owner)
        find { snapshot throws(StorageError) in
            .plan(try PagePlan.make(wish, owner, upTo: last, in: snapshot))
        }
    }

    private func readOn() {
        guard next < ids.count else { return ended(.success(plan?.fin)) }
        let (owner, wanted) = (owner, Array(ids[next...]))
        find { snapshot throws(StorageError) in
            var rows: [ArchiveRow] = []
            var (bytes, count) = (0, 0)
            for id in wanted where bytes < Self.portionBytes {
                // One that has expired since is passed over.
                rows += try snapshot.archive(
                    AccountArchive.store, owner, ArchiveQuery(after: id &- 1, before: id &+ 1, limit: 1))
                count += 1
                bytes += rows.last?.stanza.count ?? 0
            }
            return .rows(rows, ofIDs: count)
        }
    }

    private func find(_ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Found) {
        let (home, held) = (session.kernel.home, Confined(self))
        session.kernel.storage.read([owner], body) { result in
            home.perform { _ in held.value.found(result) }
        }
    }

    private func found(_ result: Result<Found, StorageError>) {
        switch result {
        case .success(.plan(let plan?)):
            self.plan = plan
            ids = wish.isFlipped ? plan.ids.reversed() : plan.ids
            readOn()
        case .success(.plan(nil)):
            ended(.failure(.itemNotFound))
        case .success(.rows(let rows, let count)):
            self.rows = rows[...]
            next += count
            session.paced { [self] in send() }
        case .failure:
            ended(.failure(.resourceConstraint))
        }
    }

    /// False: all that was read is sent.
    private func send() -> Bool {
        for row in rows.prefix(Self.turnRows) {
            guard let result = renderer.result(row) else { continue }
            session.send(Envelope(result.with(from: JID(session.account.address), to: session.address)))
        }
        rows = rows.dropFirst(Self.turnRows)
        if rows.isEmpty { readOn() }
        return !rows.isEmpty
    }
}
