/// How much may wait in a storage, in the same terms for every backend.
///
/// At the lower mark a storage is pressed: sessions that write pause, so that more is the exception. At the upper one it
/// refuses, since a disk that stands still must not take all memory: a batch or a read over it fails at once with
/// `.busy` and was never queued.
public struct StorageMarks: Hashable, Sendable {
    /// More rows than this waiting for the disk: pressed, until it is half of it.
    public var pressedRows = 20_000
    /// More bytes than this waiting for the disk: pressed, until it is half of it.
    public var pressedBytes = 32 << 20
    /// A batch that would lead above this is refused; one alone in the queue may be larger. What only removes may lead
    /// to twice as much: it makes room, and nobody may be kept from it by those who write.
    public var mostRows = 80_000
    /// The same in bytes.
    public var mostBytes = 128 << 20
    /// Reads that may wait, for a thread and again for the writes before them; the next one is refused.
    public var mostReads = 50_000

    public init() {}

    public func isPressed(rows: Int, bytes: Int = 0) -> Bool { rows > pressedRows || bytes > pressedBytes }

    /// What was pressed is so no longer.
    public func isRelieved(rows: Int, bytes: Int = 0) -> Bool { rows <= pressedRows / 2 && bytes <= pressedBytes / 2 }

    /// Whether a batch of so many rows and bytes may be queued behind what is queued already.
    public func takes(
        _ batch: [Mutation], rows: Int, bytes: Int = 0, behind queued: (rows: Int, bytes: Int)
    ) -> Bool {
        guard queued.rows > 0 || queued.bytes > 0 else { return true }
        let room = batch.allSatisfy(\.onlyRemoves) ? 2 : 1
        return queued.rows + rows <= mostRows * room && queued.bytes + bytes <= mostBytes * room
    }
}

extension Mutation {
    /// Makes room and takes none, but for a tombstone.
    public var onlyRemoves: Bool {
        switch self {
        case .delete, .deleteAll, .unspool, .unspoolAll, .trimArchive, .removeAccount: true
        case .put, .spool, .archive, .createAccount, .setCredentials, .replaceCredentials: false
        }
    }
}
