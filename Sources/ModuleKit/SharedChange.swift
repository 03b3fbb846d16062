import Synchronization

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
    /// The id of an archived stanza in its sender's archive, for what the sender's other devices are told. Nobody else
    /// may know it (XEP-0313 §3.4).
    public let archiveID: String?
    private let hasEnded = Atomic<Bool>(false)
    private let ended: @Sendable (Outcome) -> Void

    /// - Parameter ended: called once, on any thread.
    public init(
        _ mutations: [Mutation], archiveID: String? = nil, ended: @escaping @Sendable (Outcome) -> Void
    ) {
        self.mutations = mutations
        self.archiveID = archiveID
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
