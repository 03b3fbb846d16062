public import XMPPCore

/// A client's session after binding. Lives on its account's home loop; code that leaves the loop takes `ref` along.
public protocol Session: AnyObject {
    var ref: SessionRef { get }
    var address: JID { get }
    var account: any Account { get }
    var kernel: any Kernel { get }

    /// The last presence the client broadcast; nil before the first and after unavailable (RFC 6121 §4.2).
    var presence: Stanza? { get set }
    /// Of `presence`; 0 without one.
    var priority: Int8 { get set }
    var state: StateContainer { get set }
    /// False while the connection is lost and the client may still resume (XEP-0198 §5).
    var isConnected: Bool { get }
    /// It was bound a moment ago and has not said yet whether it takes messages for the account.
    var isArriving: Bool { get }
    /// Nobody can listen on the way to the client; false as well while there is no connection.
    var isSecure: Bool { get }
    /// For how long no byte came that the server was ready to read; zero without a connection.
    var silence: Duration { get }

    /// Sends a stanza to this client, through the `sending` point. The session holds the receipt until the client has
    /// the stanza; if it ends before, the kernel sees to what is left (DESIGN: what is left in a dead session's queue).
    func send(_ envelope: Envelope)

    /// Sends in bulk: calls `next`, which sends a portion, again and again as the client takes what was sent, until it
    /// answers false or the session ends. Portions of one call after the other; between two of them the loop looks
    /// after others. While the connection is lost nothing is called.
    func paced(_ next: @escaping () -> Bool)

    /// Holds back what the client need not have now, behind the `sending` point (XEP-0352). What cannot wait takes along
    /// all that waited, oldest first. So does nil, which ends it, and so does the loss of the connection: a resumption
    /// brings what waited, and holds nothing back. Messages and presence then tell since when they have waited
    /// (XEP-0203). One policy at a time: another one takes its place, and what waits goes on waiting.
    func holdBack(_ policy: HoldingPolicy?)

    /// Tells the client something that it has to confirm and whose answer nobody waits for (roster pushes).
    func push(_ payload: Element)

    /// Asks the client and calls back once: with its answer, or with nil when none came in time or the session ended.
    func request(_ payload: Element, within limit: Duration, then answer: @escaping (Stanza?) -> Void)

    /// Ends the stream with an error. A session closed so cannot be resumed.
    func close(_ error: StreamError)
    /// The client seems to be dead: cuts its connection. A session that can be resumed waits for the client as after
    /// any lost connection, another one ends with the error.
    func disconnect(_ error: StreamError)
}

extension Session {
    public var isAvailable: Bool { presence != nil }
    /// Takes messages addressed to the bare address (RFC 6121 §8.5.2.1.1).
    public var isInterested: Bool { presence != nil && priority >= 0 }
}

/// An account with all that its modules need to know of it. Points run only with a complete one.
public protocol Account: AnyObject {
    var address: BareJID { get }
    /// Its number in the stores. Nil: there is no such account, or it is temporary; either way nothing can be stored
    /// for it.
    var owner: OwnerID? { get }
    /// It exists as long as its session does, in memory only (SASL ANONYMOUS). Loaders do not run for it.
    var isTemporary: Bool { get }
    var kernel: any Kernel { get }
    var state: StateContainer { get set }

    var sessionCount: Int { get }
    func forEachSession(_ body: (any Session) -> Void)
    func session(_ resource: String) -> (any Session)?

    /// True when messages for the bare address have to queue behind those that wait already.
    var isSpooling: Bool { get }
    /// The same for what is sent to one session. One that looks at the messages that wait (`Mailbox`) does not wait for
    /// them.
    func isSpooling(for session: any Session) -> Bool
    /// True when the messages that wait go to this session, now or as soon as it takes them.
    func serves(_ session: any Session) -> Bool
    /// Keeps a message for later. The receipt is held until the row is on disk. When the spool is full or the commit
    /// fails, the sender gets the error. Must be a message.
    func spool(_ envelope: Envelope)
    /// Sends the messages that wait to this session, oldest first, at the pace it takes them, each deleted when the
    /// session has it. Does nothing when another session is being served.
    func drain(to session: any Session)

    /// There is no room for another message that would have to wait.
    var isSpoolFull: Bool { get }
    /// Takes the envelope. It arrives once more when there is room; if there is none to be had, it goes back.
    func awaitRoom(_ envelope: Envelope)

    /// Keeps what the account lets pass. Nil where no module has rules; see `rules(for:)`.
    var ruleKeeper: RuleKeeper? { get }

    /// The messages that wait, for modules that show them. Nil where no module keeps any.
    var mailbox: (any Mailbox)? { get }

    /// A message that no session can take: to the modules that keep it, else back to its sender.
    func undeliverable(_ envelope: Envelope)

    /// Delivers one message to several sessions of this account: it counts as delivered when one of them has it.
    func deliver(_ envelope: Envelope, to sessions: [any Session])
}

extension Account {
    public var exists: Bool { owner != nil || isTemporary }
}

/// One loop of the server as the code that runs there sees it.
public protocol Kernel: AnyObject {
    var loopIndex: Int { get }
    var wallClock: Timestamp { get }
    /// How long the server has been running, whatever the time of day was set to meanwhile.
    var uptime: Duration { get }
    var storage: any StorageBackend { get }
    /// Queues rows for the journal that somebody's stanza brings. Until they are on disk they count against what this
    /// account may have on its way there (DESIGN: back-pressure is charged to who causes it).
    ///
    /// - Parameters:
    ///   - bytes: of the rows, roughly.
    ///   - then: called on this loop.
    func submit(
        _ batch: [Mutation], bytes: Int, chargedTo sender: BareJID?,
        then: @escaping (Result<[MutationOutcome], StorageError>) -> Void)

    /// Sends a stanza on its way. `from` and `to` must be set.
    func route(_ envelope: Envelope)
    /// Answers with an error where that is allowed: never to an error, a result or a presence of type unavailable…
    /// (RFC 6120 §8.3.1), and lets the receipt go.
    func bounce(_ envelope: Envelope, _ error: StanzaError)
    /// What is advertised at this target of this host (XEP-0030).
    func disco(_ target: Target, of domain: String) -> DiscoInfo?
    /// The node of that name at this target of this host.
    func discoNode(_ name: String, at target: Target, of domain: String) -> DiscoNode?
    /// Makes, changes and removes accounts.
    var accountService: any AccountService { get }
    /// Runs `body` with the resident account of this address, if it lives on this loop.
    func withResident(_ address: BareJID, _ body: (any Account) -> Void)
    /// A handle for code that runs elsewhere and comes back.
    var home: KernelHandle { get }
}

/// Comes back to a loop from any thread.
public struct KernelHandle: Sendable {
    private let run: @Sendable (@escaping @Sendable (any Kernel) -> Void) -> Void

    public init(_ run: @escaping @Sendable (@escaping @Sendable (any Kernel) -> Void) -> Void) {
        self.run = run
    }

    /// Runs `work` on the loop, soon; in the order of the calls.
    public func perform(_ work: @escaping @Sendable (any Kernel) -> Void) {
        run(work)
    }
}

/// Whom a stanza without a resource addresses.
public enum Target: Hashable, Sendable {
    /// The virtual host itself.
    case host
    /// The bare address of an account, answered by the server on its behalf.
    case account
    /// The domains of modules beside the host, as far as they do not answer themselves.
    case domain
}
