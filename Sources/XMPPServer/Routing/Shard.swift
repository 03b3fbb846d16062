import CoreMetrics
import Logging
import ModuleKit
import XMPPStream

/// Everything of the server that lives on one event loop: the accounts, sessions and entities whose home it is, and the
/// way of a stanza between them.
///
/// Confined to `loop`; only `office` and `home` may be used from elsewhere.
final class Shard: Kernel, MailReceiver, TimerTarget, @unchecked Sendable {
    let loop: any Loop
    private let index: Int
    let office: PostOffice
    let storage: any StorageBackend
    private let registry: AccountRegistry
    let admission: Admission
    var settings: KernelSettings {
        didSet { policies = [:] }
    }
    let log: Logger
    private(set) var world: World
    private var chores: Chores?
    /// Accounts that left while messages of theirs were on their way to the store.
    var departing: [BareJID: [LocalAccount]] = [:]
    /// Connections on this loop that have no session yet.
    var negotiations: [ObjectIdentifier: ClientNegotiation] = [:]
    /// What hosts offer on streams, made when the first client asks.
    var policies: [String: HostPolicy] = [:]

    var accounts: [BareJID: LocalAccount] = [:]
    var sessions: [UInt64: ClientSession] = [:]
    var entities: [BareJID: EntityBox] = [:]
    var counts = ShardCounts()
    let metrics: ShardMetrics
    private var nextSession: UInt64 = 0
    /// Sessions that have something to say when the turn ends.
    private var speaking: [ClientSession] = []
    /// Accounts without a session, in the order in which they may be forgotten.
    var idleAccounts = IdleAccounts()
    /// Bytes in the inboxes of all that is being read.
    var inboxBytes = 0
    var sweepsSoon = false
    var loadBudget = LoadBudget()
    /// Sessions that wait to be resumed.
    var detached = DetachedSessions()
    /// Who pays for the mail that is sent now.
    unowned(unsafe) var charged: ClientSession?
    let stanzaReader = StanzaReader()
    let addresses = AddressCache()
    /// For whatever may outlive the shard.
    let link = ShardLink()
    var isStopping = false

    init(
        loop: any Loop, office: PostOffice, storage: any StorageBackend, registry: AccountRegistry,
        admission: Admission, settings: KernelSettings, world: World, metrics factory: any MetricsFactory, log: Logger
    ) {
        self.loop = loop
        index = loop.index
        self.office = office
        self.storage = storage
        self.registry = registry
        self.admission = admission
        self.settings = settings
        self.world = world
        self.log = log
        metrics = ShardMetrics(factory, loop: loop.index)
        link.shard = self
    }

    deinit {
        link.shard = nil
    }

    // MARK: Kernel

    var loopIndex: Int { index }
    var wallClock: Timestamp { loop.wallClock }
    private var started = Instant(nanoseconds: 0)
    var uptime: Duration { .nanoseconds(loop.now.nanoseconds - started.nanoseconds) }

    var home: KernelHandle {
        let (loop, link) = (loop, link)
        return KernelHandle { work in
            loop.post(.work { if let shard = link.shard { work(shard) } })
        }
    }

    func disco(_ target: Target, of domain: String) -> DiscoInfo? {
        if let host = world.hosts[domain] {
            var info = host.disco[target] ?? DiscoInfo()
            if target == .host {
                info.items += host.domains.map { DiscoInfo.Item(address: "\($0.prefix).\(domain)") }
            }
            return info
        }
        return target == .host ? world.domains[domain]?.disco : nil
    }

    func discoNode(_ name: String, at target: Target, of domain: String) -> DiscoNode? {
        world.hosts[domain]?.discoNodes[name, target]
    }

    var accountService: any AccountService { registry }

    func withResident(_ address: BareJID, _ body: (any Account) -> Void) {
        if let account = accounts[address], account.isResident { body(account) }
    }

    /// Goes over to another world. Hosts and modules that only the old one has end what they had begun.
    func use(_ next: World) {
        let homeless = endHosts(missingIn: next)
        let old = world
        world = next
        policies = [:]
        for negotiation in Array(negotiations.values) { negotiation.worldChanged() }
        for account in Array(accounts.values) { account.worldChanged() }
        endModules(of: old)
        // The first world is there before the loop runs: `start` begins its chores.
        if chores != nil { begin(Chores(next, of: self)) }
        for (address, waiting) in homeless { reroute(waiting, to: address) }
    }

    // MARK: Mail

    func receive(_ mail: consuming Mail) {
        switch consume mail {
        case .stanza(let address, let envelope): arrive(address, envelope)
        case .session(let session, let envelope):
            if let session = sessions[session.id] { session.send(envelope) } else { counts.lostReplies += 1 }
        case .closed(let receipt): sessions[receipt.session.id]?.closed(receipt)
        case .check(let session): office.loops[Int(session.loop)].post(.checked(session))
        case .checked(let session): creditChecked(session)
        case .charge(let account, let bytes): accounts[account]?.charge(bytes)
        case .work(let work): work()
        }
    }

    func turnEnded() {}

    /// The session is asked what it has to say (`<r/>`, `<a/>`) at the end of this turn.
    func atEndOfTurn(_ session: ClientSession) {
        if speaking.isEmpty { loop.defer_ { [self] in endTurn() } }
        speaking.append(session)
    }

    private func endTurn() {
        let sessions = speaking
        speaking.removeAll(keepingCapacity: true)
        for session in sessions { session.turnEnded() }
    }

    func makeSessionRef() -> SessionRef {
        nextSession += 1
        return SessionRef(loop: Int32(loop.index), id: nextSession)
    }

    // MARK: Routing

    func route(_ envelope: Envelope) {
        guard let to = envelope.stanza.to else { return }
        if to.local.isEmpty {
            if let host = world.hosts[to.domain] {
                arriveAtHost(envelope, host)
            } else if let domain = world.domains[to.domain] {
                arriveAtDomain(envelope, domain)
            } else {
                bounce(envelope, .remoteServerNotFound)
            }
            return
        }
        // Whether there is such a domain is found out at home.
        switch office.directory.lookup(to.bare) {
        case .local(index): arrive(to.bare, envelope)
        case .local(let home): post(.stanza(to.bare, envelope), envelope.stanza, to: home)
        case .remote(let node): office.directory.courier?.carry(envelope, for: to.bare, to: node)
        }
    }

    func bounce(_ envelope: Envelope, _ error: StanzaError) {
        envelope.shared?.end(.refused)
        let stanza = envelope.stanza
        guard stanza.canBeRejected, stanza.from != nil, !isSilent(stanza) else { return }
        counts.bounced += 1
        route(Envelope(stanza.reply(error: error)))
    }

    /// Presence that no error answers (RFC 6121 §4.3, §4.5).
    private func isSilent(_ stanza: Stanza) -> Bool {
        stanza.kind == .presence && (stanza.type == .unavailable || stanza.type == .probe)
    }

    /// At the home loop of the address.
    func arrive(_ address: BareJID, _ envelope: Envelope) {
        if let account = accounts[address], account.isResident { return account.arrive(envelope) }
        if let domain = world.domains[address.domain] { return arriveAtEntity(address, envelope, domain) }
        guard world.hosts[address.domain] != nil else { return bounce(envelope, .remoteServerNotFound) }
        guard !isStopping else { return bounce(envelope, .recipientUnavailable) }
        // Whoever logs in brings most of the contacts into memory otherwise, to tell nobody.
        if accounts[address] == nil, isForSessionsOnly(envelope.stanza) { return }
        let account = account(address)
        guard account.wait(.envelope(envelope)) else { return bounce(envelope, .resourceConstraint) }
        load(account, for: envelope.stanza.from?.bare)
    }

    /// Presence says nothing to an account without a session. A probe of another server may be answered that there is no
    /// such subscription (RFC 6121 §4.3.2); between our own accounts both sides know of it, or neither does.
    private func isForSessionsOnly(_ stanza: Stanza) -> Bool {
        guard stanza.kind == .presence else { return false }
        switch stanza.type {
        case .available, .unavailable: return true
        case .probe: return stanza.from.map { world.hosts[$0.domain] != nil } ?? true
        default: return false
        }
    }

    private func arriveAtHost(_ envelope: Envelope, _ host: HostTable) {
        switch envelope.stanza.kind {
        case .iq: request(envelope, host.iq, at: .host, account: nil)
        // RFC 6120 §10.5.1 leaves it to the server: nobody reads what is sent to a host.
        case .message: if envelope.stanza.type != .error { bounce(envelope, .serviceUnavailable) }
        case .presence: break
        }
    }

    private func arriveAtDomain(_ envelope: Envelope, _ domain: DomainTable) {
        switch envelope.stanza.kind {
        case .iq: request(envelope, domain.iq, at: .host, account: nil)
        case .message: bounce(envelope, .serviceUnavailable)
        case .presence: break
        }
    }

    // MARK: Timers

    static let sweepTag = 0

    private func begin(_ next: Chores) {
        chores?.end()
        chores = next
    }

    func start() {
        started = loop.now
        begin(Chores(world, of: self))
        _ = loop.schedule(after: .seconds(5), self, tag: Self.sweepTag)
    }

    func timerFired(_ tag: Int) {
        guard !isStopping else { return }
        loadBudget.renew()
        sweep()
        hibernate()
        collectMetrics()
        _ = loop.schedule(after: .seconds(5), self, tag: Self.sweepTag)
    }
}

/// Leads back to a shard from the completions of a store and from modules, without keeping it alive.
///
/// No weak reference: those make every later retain of their object a slow one, and a shard is retained for each stanza.
final class ShardLink: @unchecked Sendable {
    // Confined: set when the shard is made and when it goes, read on its loop, whose receiver the shard is.
    unowned(unsafe) fileprivate(set) var shard: Shard?
}

/// What the loops of a server share of the config.
struct KernelSettings: Sendable {
    var limits: LimitsConfig
    var streamManagement: StreamManagementConfig
    /// The host that the config names first: who asks for none, or for one that is not here, is answered in its name.
    let name: String
    /// By virtual host.
    let auth: [String: AuthConfig]
    /// Bytes of accounts without a session that one loop keeps in memory.
    var idleBytes: Int
    /// The bounds of each inbox: of an account or a module's entity that is being read.
    var inbox: InboxLimits
    /// Bytes that may wait in memory for the detached sessions of one loop.
    var detachedBytes: Int

    init(_ config: ServerConfig, loops: Int) {
        limits = config.limits
        streamManagement = config.streamManagement
        name = config.hosts.first?.name ?? ""
        auth = Dictionary(config.hosts.map { ($0.name, $0.auth) }) { first, _ in first }
        idleBytes = config.accounts.cache / max(1, loops)
        inbox = InboxLimits(
            stanzas: config.accounts.inbox, bytes: config.accounts.inboxBytes,
            total: max(config.accounts.inboxBytes, idleBytes))
        detachedBytes = config.streamManagement.detachedBytes / max(1, loops)
    }
}

/// Numbers of one loop, for `status`.
struct ShardCounts: Sendable {
    var bounced = 0
    var received = 0
    var delivered = 0
    var spilled = 0
    var resumed = 0
    /// Stanzas that a client sent again after a resumption and that had been handled before.
    var repeated = 0
    /// Detached sessions that ended early, because too much was waiting for them.
    var evicted = 0
    var loads = 0
    var failedLoads = 0
    var lostReplies = 0
    var failedCommits = 0
    /// Kept messages that could not be read and were set aside.
    var unreadable = 0
    /// Sessions that were renamed, refused or ended because of another one's resource.
    var conflicts = 0
    /// Connections that were taken for dead.
    var idle = 0
    /// Pauses of clients whose account sent too much.
    var slowed = 0
    /// On streams that have a session.
    var authenticationsOutOfTurn = 0
}

/// How many cold accounts one origin may have loaded until the next sweep (DESIGN: loads are rate-limited per origin).
struct LoadBudget {
    static let perOrigin = 500
    static let mostOrigins = 10_000
    private var spent: [BareJID: Int] = [:]

    mutating func take(_ origin: BareJID?) -> Bool {
        guard let origin else { return true }
        let count = spent[origin, default: 0]
        guard count < Self.perOrigin, spent.count < Self.mostOrigins || count > 0 else { return false }
        spent[origin] = count + 1
        return true
    }

    mutating func renew() {
        spent.removeAll(keepingCapacity: spent.count < 1000)
    }
}
