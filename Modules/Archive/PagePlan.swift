internal import ModuleKit

/// Which messages a page has, and what its answer says: worked out on a storage thread, before a message is read.
struct PagePlan: Sendable {
    /// Ascending.
    var ids: [Int64] = []
    var isComplete = true
    /// Messages that match in all; nil: nobody has counted.
    var count: Int?
    /// `ids` begin with the first message that matches.
    var isFirst = false

    /// As many are counted.
    private static let mostCounted = 100_000

    /// Nil: an id that the query names is not in the archive.
    ///
    /// - Parameter last: the newest id that counts.
    static func make(
        _ wish: ArchiveWish, _ owner: OwnerID, upTo last: Int64, in snapshot: any StorageSnapshot
    ) throws(StorageError) -> PagePlan? {
        func place(_ text: String?) throws(StorageError) -> Place {
            guard let text else { return .none }
            guard let id = Int64(text), id > 0, String(id) == text else { return .unknown }
            let found = try snapshot.archiveIDs(
                AccountArchive.store, owner, ArchiveQuery(after: id &- 1, before: id &+ 1, limit: 1))
            return found == [id] ? .known(id) : .unknown
        }
        let bounds = [
            try place(wish.filter.after), try place(wish.set.after), try place(wish.filter.before),
            try place(wish.set.before),
        ]
        guard !bounds.contains(.unknown) else { return nil }
        var query = wish.filter.query
        let ends = bounds.map(\.id)
        query.after = [ends[0], ends[1]].compactMap { $0 }.max()
        query.before = ([ends[2], ends[3]].compactMap { $0 } + [last &+ 1]).min()
        query.direction = wish.set.isBackward ? .backward : .forward

        if let texts = wish.filter.ids {
            var named: [Int64] = []
            for text in texts {
                guard case .known(let id) = try place(text) else { return nil }
                named.append(id)
            }
            return try among(Set(named).sorted(), query, wish, owner, snapshot)
        }
        return try make(query, wish, owner, snapshot)
    }

    private enum Place: Equatable {
        case none, unknown
        case known(Int64)

        var id: Int64? {
            if case .known(let id) = self { id } else { nil }
        }
    }

    private static func make(
        _ query: ArchiveQuery, _ wish: ArchiveWish, _ owner: OwnerID, _ snapshot: any StorageSnapshot
    ) throws(StorageError) -> PagePlan {
        var query = query
        guard wish.limit > 0 else {
            let count = try snapshot.archiveCount(AccountArchive.store, owner, query, most: mostCounted + 1)
            return PagePlan(isComplete: count == 0, count: count > mostCounted ? nil : count)
        }
        query.limit = wish.limit + 1
        return PagePlan(try snapshot.archiveIDs(AccountArchive.store, owner, query), wish)
    }

    /// Those of the ids that the rest of the query lets through.
    private static func among(
        _ ids: [Int64], _ query: ArchiveQuery, _ wish: ArchiveWish, _ owner: OwnerID, _ snapshot: any StorageSnapshot
    ) throws(StorageError) -> PagePlan {
        var found: [Int64] = []
        for id in ids where id > query.after ?? .min && id < query.before ?? .max {
            var one = query
            (one.after, one.before, one.limit) = (id &- 1, id &+ 1, 1)
            found += try snapshot.archiveIDs(AccountArchive.store, owner, one)
        }
        guard wish.limit > 0 else { return PagePlan(isComplete: found.isEmpty, count: found.count) }
        let page = wish.set.isBackward ? found.suffix(wish.limit + 1) : found.prefix(wish.limit + 1)
        return PagePlan(Array(page), wish)
    }

    private init(ids: [Int64] = [], isComplete: Bool, count: Int?) {
        (self.ids, self.isComplete, self.count) = (ids, isComplete, count)
    }

    /// - Parameter found: one more than the page has, if there is one more.
    private init(_ found: [Int64], _ wish: ArchiveWish) {
        isComplete = found.count <= wish.limit
        ids = Array(wish.set.isBackward ? found.suffix(wish.limit) : found.prefix(wish.limit))
        // Without a place to go on from, the page is one end of the list.
        isFirst = wish.set.isBackward ? isComplete && wish.set.after == nil : wish.set.after == nil
        let isWhole = isComplete && wish.set.after == nil && wish.set.before == nil
        count = isWhole ? ids.count : nil
    }

    /// XEP-0313 §4.3.
    var fin: Element {
        var fin = Element("fin", .archive)
        if isComplete { fin[attribute: "complete"] = "true" }
        let set = ResultSet(
            first: ids.first.map { String($0) }, last: ids.last.map { String($0) }, count: count,
            index: isFirst && !ids.isEmpty ? 0 : nil)
        fin.append(set.element)
        return fin
    }
}
