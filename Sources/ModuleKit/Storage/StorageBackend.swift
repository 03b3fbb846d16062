public import XMPPCore

/// The number of whoever owns rows: an account or a keyed entity. Given once and never used again, so that rows of a
/// removed account can never show up under a new one of the same name.
public struct OwnerID: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let rawValue: Int64

    public init(_ rawValue: Int64) {
        self.rawValue = rawValue
    }

    /// No account has this number, and no row.
    public static let nobody = OwnerID(0)
    /// The server itself: no account has this number, and rows of it belong to none.
    public static let server = OwnerID(-1)

    public static func < (left: OwnerID, right: OwnerID) -> Bool { left.rawValue < right.rawValue }
    public var description: String { String(rawValue) }
}

/// A module's name for one of its stores, unique within its kind (map, spool, archive). At most 64 bytes of lower-case
/// letters, digits, `-`.
public struct StoreName: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    public let rawValue: String

    public init(_ rawValue: String) {
        self.rawValue = rawValue
    }

    public init(stringLiteral value: String) {
        self.init(value)
    }

    public var description: String { rawValue }
}

/// One message waiting for its reader. `id` is made by the owner's home loop, ascending per owner, so that a row can be
/// named before its commit is known.
public struct SpoolRow: Hashable, Sendable {
    public var id: Int64
    /// When the server took the message; becomes the delay stamp (XEP-0203).
    public var stamp: Timestamp
    /// The serialised stanza, UTF-8.
    public var stanza: [UInt8]

    public init(id: Int64, stamp: Timestamp, stanza: [UInt8]) {
        self.id = id
        self.stamp = stamp
        self.stanza = stanza
    }
}

/// One archived stanza. `id` is made in the process, ascending per owner (`docs/decisions`, DESIGN: ids).
public struct ArchiveRow: Hashable, Sendable {
    public var id: Int64
    public var stamp: Timestamp
    /// The other side of the conversation: an address as it stands in the stanza, canonical.
    public var with: String
    public var stanza: [UInt8]

    public init(id: Int64, stamp: Timestamp, with: String, stanza: [UInt8]) {
        self.id = id
        self.stamp = stamp
        self.with = with
        self.stanza = stanza
    }
}

/// Which rows of an archive a page wants (XEP-0313 §4, XEP-0059). What is asked for must hold together: an id between
/// `after` and `before`, a stamp between `start` and `end`.
public struct ArchiveQuery: Hashable, Sendable {
    public enum Direction: Hashable, Sendable { case forward, backward }

    /// The other side, byte for byte. One without a resource is also that of all its resources.
    public var with: String?
    /// Rows with this stamp or a later one.
    public var start: Timestamp?
    /// Rows with this stamp or an earlier one.
    public var end: Timestamp?
    /// Rows with an id above this one.
    public var after: Int64?
    /// Rows with an id below this one.
    public var before: Int64?
    /// Which of the rows, if there are more than `limit`: the first ones, or the last ones. A page is ascending by id
    /// either way.
    public var direction: Direction
    /// 1...1000; the backend clamps.
    public var limit: Int

    public init(
        with: String? = nil, start: Timestamp? = nil, end: Timestamp? = nil, after: Int64? = nil, before: Int64? = nil,
        direction: Direction = .forward, limit: Int = 50
    ) {
        self.with = with
        self.start = start
        self.end = end
        self.after = after
        self.before = before
        self.direction = direction
        self.limit = limit
    }

    /// The limit within its bounds.
    public var clampedLimit: Int { min(max(limit, 1), 1_000) }

    /// What is above and below all addresses of the other side that have a resource; nil: it has one itself.
    public var resources: (above: String, below: String)? {
        guard let with, !with.utf8.contains(UInt8(ascii: "/")) else { return nil }
        // The character behind the slash.
        return (with + "/", with + "0")
    }
}

/// The oldest and the newest row of an archive.
public struct ArchiveExtent: Hashable, Sendable {
    public struct End: Hashable, Sendable {
        public var id: Int64
        public var stamp: Timestamp

        public init(id: Int64, stamp: Timestamp) {
            self.id = id
            self.stamp = stamp
        }
    }

    public var oldest: End
    public var newest: End

    public init(oldest: End, newest: End) {
        self.oldest = oldest
        self.newest = newest
    }
}

/// An account as the directory of accounts knows it.
public struct AccountRecord: Hashable, Sendable {
    public var owner: OwnerID
    public var host: String
    public var local: String
    public var created: Timestamp
    /// One per mechanism family and device; opaque here (`Credential` in the kernel encodes it).
    public var credentials: [[UInt8]]

    public init(owner: OwnerID, host: String, local: String, created: Timestamp, credentials: [[UInt8]]) {
        self.owner = owner
        self.host = host
        self.local = local
        self.created = created
        self.credentials = credentials
    }
}

/// One change. A batch of them is applied whole or not at all, in the order given. Yields `.done` unless said
/// otherwise.
///
/// Names, keys and addresses are what their bytes are: two spellings of one letter are two keys. A row for an owner whose
/// account was removed before it, in this run or an earlier one, comes too late: its batch fails with `.noSuchOwner`, so
/// that nobody takes it for stored. An archived stanza is kept for those of its owners that exist. To drop rows of such
/// an owner does nothing (`.removed(0)`).
public enum Mutation: Sendable {
    /// Sets the value of a key, whether it had one or not.
    case put(StoreName, OwnerID, key: String, value: [UInt8])
    /// Yields `.removed` with 0 or 1.
    case delete(StoreName, OwnerID, key: String)
    /// Drops an owner's whole map; yields `.removed`.
    case deleteAll(StoreName, OwnerID)
    /// Appends unless the owner already holds `limit` rows in this spool: counting and inserting are one operation.
    /// A full spool yields `.full` for this mutation and does not spoil the rest of the batch.
    ///
    /// A row that is there already, the same in every part, stays and yields `.done`, so that a batch can be repeated
    /// when nobody knows whether its commit happened. Another row under a used id fails the batch.
    case spool(StoreName, OwnerID, SpoolRow, limit: Int)
    /// Yields `.removed` with the number of ids that were there.
    case unspool(StoreName, OwnerID, ids: [Int64])
    /// Yields `.removed`.
    case unspoolAll(StoreName, OwnerID)
    /// One body, one reference per owner. Used ids as in `spool`.
    case archive(StoreName, [(owner: OwnerID, id: Int64, with: String)], stamp: Timestamp, stanza: [UInt8])
    /// Drops the oldest rows of one archive, at most `limit` of them and at most 10,000: all down from the newest one
    /// that is older than `before`, and all but the newest `keep`. So what is left has no holes. Yields `.removed`,
    /// with less than the limit when no more are left. A row from before `from` has a wrong stamp, and goes with the
    /// rows behind it.
    case trimArchive(StoreName, OwnerID, from: Timestamp, before: Timestamp, keep: Int, limit: Int)
    /// Makes an account; yields `.owner`, or `.exists` and changes nothing.
    case createAccount(host: String, local: String, created: Timestamp, credentials: [[UInt8]])
    /// Nothing happens if there is no such account.
    case setCredentials(OwnerID, [[UInt8]])
    /// Nothing happens if there is no such account, or its credentials are others than these by now: what was made of
    /// credentials that somebody has changed meanwhile must not bring them back.
    case replaceCredentials(OwnerID, [[UInt8]], with: [[UInt8]])
    /// Writes the tombstone and frees the name; from then on nobody sees a row of this owner in any store. The rows
    /// are deleted afterwards, some at a time, also after a crash.
    case removeAccount(OwnerID)
}

extension Mutation {
    /// Calls the body with each owner whose reads must see this change; for those of accounts and whole archives there
    /// is none to name.
    public func forEachOwner(_ body: (OwnerID) -> Void) {
        switch self {
        case .put(_, let owner, _, _), .delete(_, let owner, _), .deleteAll(_, let owner), .spool(_, let owner, _, _),
            .unspool(_, let owner, _), .unspoolAll(_, let owner), .setCredentials(let owner, _),
            .replaceCredentials(let owner, _, _), .trimArchive(_, let owner, _, _, _, _), .removeAccount(let owner):
            body(owner)
        case .archive(_, let references, _, _):
            for reference in references { body(reference.owner) }
        case .createAccount:
            break
        }
    }
}

public enum MutationOutcome: Hashable, Sendable {
    case done
    /// The spool was full; the row is not stored.
    case full
    /// There was an account of this name.
    case exists
    /// The account's new number.
    case owner(OwnerID)
    /// So many rows were dropped.
    case removed(Int)
}

public enum StorageError: Error, Hashable, Sendable {
    /// The commit failed; nothing of the batch is stored. The text is for logs and has no content in it.
    case failed(String)
    /// The disk is full.
    case full
    /// The backend is closed.
    case closed
    /// A read waited too long for the writes before it.
    case timeout
    /// A row was for an account that has been removed; nothing of the batch is stored.
    case noSuchOwner
    /// Too much waits already: nothing was queued, and the same may work later.
    case busy
    /// What is stored is not ours, newer than us or damaged.
    case damaged(String)
}

/// A consistent view of the database: nothing in it changes while it is used. Used on a read thread, inside
/// `StorageBackend.read` only; afterwards it gives errors. Limits below 0 count as 0.
public protocol StorageSnapshot {
    func value(_ store: StoreName, _ owner: OwnerID, key: String) throws(StorageError) -> [UInt8]?
    /// All entries of a map, ascending by the bytes of the key.
    func entries(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> [(key: String, value: [UInt8])]
    /// Rows with an id above `after`, ascending.
    func spool(_ store: StoreName, _ owner: OwnerID, after: Int64, limit: Int) throws(StorageError) -> [SpoolRow]
    func spoolCount(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> Int
    /// The highest id ever given to this owner in this spool that is still stored; 0 if empty.
    func spoolLastID(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> Int64
    func archive(_ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery) throws(StorageError) -> [ArchiveRow]
    /// The ids of those rows alone, ascending.
    func archiveIDs(_ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery) throws(StorageError) -> [Int64]
    /// How many rows the query finds whatever its limit; counted up to `most`.
    func archiveCount(
        _ store: StoreName, _ owner: OwnerID, _ query: ArchiveQuery, most: Int
    ) throws(StorageError) -> Int
    /// Nil: the archive is empty.
    func archiveExtent(_ store: StoreName, _ owner: OwnerID) throws(StorageError) -> ArchiveExtent?
    func account(host: String, local: String) throws(StorageError) -> AccountRecord?
    /// Accounts of a host ascending by the bytes of the name, after `local`; from the first if it is empty.
    func accounts(host: String, after local: String, limit: Int) throws(StorageError) -> [AccountRecord]
    func accountCount(host: String) throws(StorageError) -> Int
    /// The next host that has accounts, by the bytes of the name; the first if `host` is empty. Also hosts that no
    /// config names.
    func host(after host: String) throws(StorageError) -> String?
}

/// A database as the kernel and the typed stores use it. Everything a module stores goes through these two calls, so
/// a backend is small and a faulty one is a wrapper.
///
/// Contract (`StorageContract`, run against every backend): batches are applied in the order of `submit` per owner; a
/// batch is atomic and durable (synced) when its completion says success; `read` sees every batch that was submitted
/// for the owners it names before it was called. Completions of batches are called in the order of `submit`, each
/// completion exactly once, on threads of the backend and never from within the call. What is refused with `.busy` or
/// `.closed` was never queued, and is told so without waiting for its turn.
public protocol StorageBackend: Sendable {
    /// Queues a batch for the journal. Never blocks and never fails half-way. Over the upper of the `StorageMarks` the
    /// batch is refused with `.busy`. A batch that fails takes no other with it, unless they shared its commit.
    func submit(
        _ batch: [Mutation], then completion: @escaping @Sendable (Result<[MutationOutcome], StorageError>) -> Void)

    /// Reads in one snapshot, which has in it what was submitted before for these owners. A read that waits for that
    /// longer than the backend's time-out fails with `.timeout`, without having been in anybody's way; one behind too
    /// many others with `.busy`.
    func read<Value: Sendable>(
        _ owners: [OwnerID], _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value,
        then completion: @escaping @Sendable (Result<Value, StorageError>) -> Void)

    /// True while more is queued than the lower of the `StorageMarks`: everybody who writes pauses (DESIGN:
    /// back-pressure).
    var isPressed: Bool { get }

    /// Names this life of the database; the same as long as it is open. See `StorageEpoch` for what has to name it.
    var epoch: StorageEpoch { get }

    /// Commits what is queued, then closes. Later calls fail with `.closed`.
    func close() async
}

extension StorageBackend {
    public func submit(_ batch: [Mutation]) async throws(StorageError) -> [MutationOutcome] {
        let result: Result<[MutationOutcome], StorageError> = await withCheckedContinuation { continuation in
            submit(batch) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    public func read<Value: Sendable>(
        _ owners: [OwnerID] = [], _ body: @escaping @Sendable (any StorageSnapshot) throws(StorageError) -> Value
    ) async throws(StorageError) -> Value {
        let result: Result<Value, StorageError> = await withCheckedContinuation { continuation in
            read(owners, body) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }
}
