internal import Synchronization
public import XMPPCore

/// Rows of one account that are to be written in one batch with what a stanza of it changes at another account: both
/// rosters of a subscription change together, or neither does.
///
/// It travels in the stanza's envelope. Whoever handles the stanza over there may take the rows into a batch of its own
/// and then says how that ended. When nobody does, because the address lives elsewhere, is nobody's, or a module stopped
/// the stanza, it ends as `untaken` when it is let go, and the sender writes its rows alone.
public final class SharedChange: Sendable {
    public enum Outcome: Hashable, Sendable {
        /// Both sides are on disk.
        case committed
        /// Neither is.
        case failed
        /// The other account is in the midst of such a change with this one, which goes first: to be tried again behind
        /// it.
        case conflict
        /// Nobody has written it.
        case untaken
        /// Nobody has written it, and the stanza was refused.
        case refused
    }

    public let mutations: [Mutation]
    /// Of a stanza that its sender archives.
    public let mark: ArchiveMark?
    private let hasEnded = Atomic<Bool>(false)
    private let ended: @Sendable (Outcome) -> Void

    /// - Parameter ended: called once, on any thread.
    public init(
        _ mutations: [Mutation], mark: ArchiveMark? = nil, ended: @escaping @Sendable (Outcome) -> Void
    ) {
        self.mutations = mutations
        self.mark = mark
        self.ended = ended
    }

    /// Says how it ended; only the first call counts.
    public func end(_ outcome: Outcome) {
        guard !hasEnded.exchange(true, ordering: .acquiringAndReleasing) else { return }
        ended(outcome)
    }

    deinit {
        if !hasEnded.load(ordering: .acquiring) { ended(.untaken) }
    }
}

/// The id of a stanza in its sender's archive, while the stanza is on its way. Only the sender's own devices may know it
/// (XEP-0313 §3.4).
public final class ArchiveMark: Sendable {
    private let id: String
    private let told = Atomic<Bool>(false)

    public init(_ id: Int64) {
        self.id = String(id)
    }

    /// The id for one of the devices. From then on it may ask for what is behind the stanza, whatever becomes of that.
    public func tell() -> String {
        told.store(true, ordering: .relaxed)
        return id
    }

    public var isTold: Bool { told.load(ordering: .relaxed) }
}

extension Element {
    /// The id of a message in the archive of this address (XEP-0359 §3.1).
    public static func archiveID(_ id: String, by archive: BareJID) -> Element {
        Element("stanza-id", .stanzaID, ["by": archive.description, "id": id])
    }
}
