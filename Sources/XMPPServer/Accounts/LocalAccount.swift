import ModuleKit

/// One bare address of ours on its home loop, existing or not. Cold: its stanzas wait in a bounded inbox while one read
/// brings its state; then every point runs with the complete account.
final class LocalAccount: Account {
    enum Waiting {
        case envelope(Envelope)
        /// Called with nil when the state could not be read.
        case work((LocalAccount?) -> Void)
    }

    let address: BareJID
    /// Holds this account, and lives as long as the loop does.
    unowned(unsafe) let shard: Shard
    /// The tables of its host.
    private(set) var table: HostTable?
    private(set) var owner: OwnerID?
    /// Of its last password.
    private var generation: UInt32 = 0
    let isTemporary: Bool
    private(set) var isResident = false
    var isLoading = false
    /// It was removed, or its host was: it is in the table of accounts no more.
    private(set) var hasLeft = false
    var state = StateContainer()
    private(set) var sessionList: [ClientSession] = []
    /// Made when the first message has to wait.
    private var storedSpool: AccountSpool?
    private var inbox = Inbox<Waiting>()
    /// Kept by `IdleAccounts`.
    var isInIdleList = false
    var idleSince = Instant(nanoseconds: 0)
    /// How much its sessions may send; nil: as much as they like.
    private(set) var rate: AccountRate?
    /// What of its messages waits for the disk.
    private(set) var charge = JournalCharge()
    /// How far sessions that ended had counted, for a late `<resume/>` (XEP-0198 §5: `<failed h=…/>`).
    private var endedSessions: [(id: String, h: UInt32)] = []

    /// - Parameter isTemporary: it is complete as it is; there is nothing to read.
    init(_ address: BareJID, in shard: Shard, isTemporary: Bool = false) {
        self.address = address
        self.shard = shard
        self.isTemporary = isTemporary
        isResident = isTemporary
        table = shard.world.hosts[address.domain]
        limitRate()
    }

    /// After a reload.
    func worldChanged() {
        table = shard.world.hosts[address.domain]
        if isResident { becomeResident() }
        drainUnkept()
    }

    /// The kernel delivers messages that wait though no module keeps any.
    func drainUnkept() {
        if table?.spoolPolicy == nil { drainToAnyone() }
    }

    /// By the limits as they are now; what was sent before still counts if they are the same.
    func limitRate() {
        let limits = shard.settings.limits.authenticated
        guard let bytes = limits.rate else { return rate = nil }
        if rate?.isSame(bytes, burst: limits.burst) != true { rate = AccountRate(bytes, burst: limits.burst) }
    }

    var kernel: any Kernel { shard }
    var ruleKeeper: RuleKeeper? { table?.ruleKeeper }

    // MARK: Becoming resident

    /// False: the inbox is full.
    func wait(_ waiting: Waiting) -> Bool {
        let size =
            switch waiting {
            case .envelope(let envelope): envelope.stanza.byteCount
            // A client that logs in. Logins are bounded by themselves, and stanzas of others must not keep them out.
            case .work: 0
            }
        return inbox.append(waiting, size, in: shard)
    }

    func loaded(_ loaded: LoadedAccount) {
        guard !hasLeft else { return }
        isLoading = false
        owner = loaded.owner
        // A newer one may have been heard of while this was read.
        generation = max(generation, loaded.generation)
        for install in loaded.installs { install.value(&state) }
        if loaded.spoolCount > 0 {
            storedSpool = AccountSpool(of: self, count: loaded.spoolCount, lastID: loaded.spoolLastID)
        }
        becomeResident()
    }

    /// Nothing is missing, or what modules read that a reload has brought: then stanzas wait for it as they do for a cold
    /// account.
    private func becomeResident() {
        let missing = owner == nil ? [] : table?.loaders.filter { !$0.isLoaded(state) } ?? []
        guard missing.isEmpty else {
            isResident = false
            isLoading = true
            return shard.complete(self, missing)
        }
        serveInbox()
    }

    /// What was missing has been read, or cannot be: the modules that want it do without then.
    func completed(_ installs: [Moved<(inout StateContainer) -> Void>]?) {
        guard !hasLeft else { return }
        isLoading = false
        guard let installs else { return serveInbox() }
        for install in installs { install.value(&state) }
        // Another reload may have come meanwhile.
        becomeResident()
    }

    /// Its sessions have ended, and what they left is under way apart from the account that the address may have now.
    /// Returned: what waited for a read, which is still for the address.
    func leave() -> [Waiting] {
        hasLeft = true
        return inbox.takeAll(in: shard)
    }

    private func serveInbox() {
        isResident = true
        for item in inbox.takeAll(in: shard) {
            switch item {
            case .envelope(let envelope): arrive(envelope)
            case .work(let work): work(self)
            }
        }
    }

    func loadFailed() {
        isLoading = false
        for item in inbox.takeAll(in: shard) {
            switch item {
            case .envelope(let envelope): shard.bounce(envelope, .resourceConstraint)
            case .work(let work): work(nil)
            }
        }
    }

    /// True when nothing would be lost by forgetting what is in memory.
    var isEvictable: Bool {
        isResident && sessionList.isEmpty && inbox.isEmpty && storedSpool?.isBusy != true
    }

    /// The password that opens it now; nil: nothing does.
    var credential: CredentialStamp? { owner.map { CredentialStamp(owner: $0, generation: generation) } }

    func passwordChanged(_ generation: UInt32) {
        self.generation = max(self.generation, generation)
    }

    /// Bytes of memory, roughly, without sessions and the inbox.
    var byteCount: Int {
        1024 + 2 * (address.local.utf8.count + address.domain.utf8.count) + state.byteCount
            + endedSessions.reduce(0) { $0 + $1.id.utf8.count + 32 }
    }

    // MARK: Sessions

    var sessionCount: Int { sessionList.count }

    func forEachSession(_ body: (any Session) -> Void) {
        for session in sessionList { body(session) }
    }

    func session(_ resource: String) -> (any Session)? {
        localSession(resource)
    }

    func localSession(_ resource: String) -> ClientSession? {
        sessionList.first { $0.address.resource == resource }
    }

    func add(_ session: ClientSession) {
        sessionList.append(session)
    }

    func remove(_ session: ClientSession) {
        sessionList.removeAll { $0 === session }
        if let (id, h) = session.resumption {
            if endedSessions.count >= 8 { endedSessions.removeFirst() }
            endedSessions.append((id, h))
        }
        guard sessionList.isEmpty else { return }
        if isTemporary { shard.endTemporary(address) } else { shard.becameIdle(self) }
    }

    func resumable(_ id: String) -> ClientSession? {
        sessionList.first { $0.resumption?.id == id && !$0.intake.endsBehindHeld }
    }

    func lastH(of id: String) -> UInt32? {
        endedSessions.last { $0.id == id }?.h
    }

    /// What its sessions have sent waits for the disk, or has got there.
    func charge(_ bytes: Int) {
        let wasOver = charge.isOver
        charge.add(bytes)
        guard wasOver, !charge.isOver else { return }
        for session in sessionList { session.goOn() }
    }

    // MARK: Arriving

    func arrive(_ envelope: Envelope) {
        guard let table else { return shard.bounce(envelope, .remoteServerNotFound) }
        guard exists else {
            if table.iq.answersForNobody(envelope.stanza) {
                return shard.request(envelope, table.iq, at: .account, account: self)
            }
            return nobodyTook(envelope)
        }
        var event = Arriving(account: self, envelope: envelope)
        switch table.arriving.run(&event, envelope.stanza) {
        case .handled: return
        case .reject(let error): return shard.bounce(event.envelope, error)
        case .next: break
        }
        let stanza = event.envelope.stanza
        switch stanza.kind {
        case .iq: arriveIQ(event.envelope, table)
        case .message: arriveMessage(event.envelope)
        case .presence: arrivePresence(event.envelope)
        }
    }

    /// No module takes presence. Clients are told all the same that a contact has gone, and no more: all contacts have
    /// when that module is taken out.
    private func arrivePresence(_ envelope: Envelope) {
        let stanza = envelope.stanza
        guard stanza.type == .unavailable, let to = stanza.to else { return nobodyTook(envelope) }
        let gone = Stanza(Element("presence", .client, ["type": "unavailable"])).with(from: stanza.from, to: to)
        for session in sessionList where to.isBare || to.resource == session.address.resource {
            session.send(Envelope(gone))
        }
    }

    /// No module takes messages. One that names a session is delivered all the same (RFC 6121 §8.5.3.1): so an error
    /// finds its way back.
    private func arriveMessage(_ envelope: Envelope) {
        if let resource = envelope.stanza.to?.resource, !resource.isEmpty, let session = localSession(resource) {
            session.send(envelope)
        } else {
            nobodyTook(envelope)
        }
    }

    /// RFC 6121 §8.5.1, §8.5.2.2. A stanza that vanishes for an account that is away vanishes for no account as well.
    /// Otherwise strangers could tell the two apart.
    private func nobodyTook(_ envelope: Envelope) {
        guard envelope.stanza.classification.storage != .vanish else { return }
        shard.bounce(envelope, .serviceUnavailable)
    }

    private func arriveIQ(_ envelope: Envelope, _ table: HostTable) {
        guard let to = envelope.stanza.to else { return }
        if to.resource.isEmpty {
            shard.request(envelope, table.iq, at: .account, account: self)
        } else if let session = localSession(to.resource) {
            session.send(envelope)
        } else {
            shard.bounce(envelope, .serviceUnavailable)
        }
    }

    // MARK: Delivering

    func deliver(_ envelope: Envelope, to sessions: [any Session]) {
        if sessions.count == 1 { return sessions[0].send(envelope) }
        let delivery = Delivery(envelope, stamp: shard.wallClock)
        for session in sessions {
            guard let session = session as? ClientSession else { continue }
            session.send(delivery)
        }
    }

    /// A message that no session took: to the modules that keep it, else back.
    func undeliverable(_ envelope: Envelope) {
        guard let table else { return }
        var event = Undeliverable(account: self, envelope: envelope)
        switch table.undeliverable.run(&event, envelope.stanza) {
        case .handled: return
        case .reject(let error): shard.bounce(envelope, error)
        case .next:
            // No module keeps messages any more, and a session is being sent those that wait: this one comes behind them.
            if table.spoolPolicy == nil, let storedSpool, storedSpool.isGateShut,
                envelope.stanza.classification.storage == .keep
            {
                return storedSpool.keep(envelope)
            }
            nobodyTook(envelope)
        }
    }

    // MARK: Spool

    /// Nil where no module keeps messages.
    var spool: AccountSpool? {
        guard table?.spoolPolicy != nil, owner != nil else { return nil }
        if let storedSpool { return storedSpool }
        let spool = AccountSpool(of: self, count: 0, lastID: 0)
        storedSpool = spool
        return spool
    }

    /// Only if something waits or is under way.
    var existingSpool: AccountSpool? { storedSpool }

    var isSpooling: Bool { storedSpool?.isGateShut ?? false }

    func isSpooling(for session: any Session) -> Bool {
        isSpooling && storedSpool?.browsing.sessions.contains(session.ref) != true
    }

    func serves(_ session: any Session) -> Bool {
        if let storedSpool {
            if storedSpool.browsing.sessions.contains(session.ref) { return false }
            if case .draining(let served) = storedSpool.gate { return served == session.ref }
        }
        return session.isInterested || session.isArriving
    }

    func spool(_ envelope: Envelope) {
        guard let spool else { return shard.bounce(envelope, .serviceUnavailable) }
        spool.keep(envelope)
    }

    var isSpoolFull: Bool {
        guard let storedSpool, table?.spoolPolicy != nil else { return false }
        return storedSpool.isFull
    }

    func awaitRoom(_ envelope: Envelope) {
        guard let storedSpool else { return arrive(envelope) }
        storedSpool.makeRoom { [self] isThere in
            // Behind those that waited as long; and the account may have left meanwhile.
            shard.loop.defer_ { [self] in
                if isThere, !storedSpool.isFull {
                    shard.arrive(address, envelope)
                } else {
                    shard.bounce(envelope, .serviceUnavailable)
                }
            }
        }
    }

    var mailbox: (any Mailbox)? { spool }

    func drain(to session: any Session) {
        guard let session = session as? ClientSession else { return }
        storedSpool?.drain(to: session)
    }

    /// A session can take messages: whatever waits goes to the one that may have them.
    func drainToAnyone() {
        guard let spool = storedSpool, spool.awaitsSession else { return }
        let ready = sessionList.filter {
            $0.isInterested && $0.isConnected && !spool.browsing.sessions.contains($0.ref)
        }
        if let best = ready.max(by: { $0.priority < $1.priority }) { spool.drain(to: best) }
    }
}

/// What one read brings of an account.
struct LoadedAccount: Sendable {
    var owner: OwnerID?
    var generation: UInt32 = 0
    var installs: [Moved<(inout StateContainer) -> Void>] = []
    var spoolCount = 0
    var spoolLastID: Int64 = 0
}
