public import CoreMetrics
public import Logging
public import ModuleKit
import Synchronization
public import XMPPStream

/// The running server: its loops' shards, and what is common to them. Made by `start`, fed by the transport through
/// `accept`, ended by `stop`.
public final class Server: Sendable {
    let office: PostOffice
    let shards: [Shard]
    let storage: any StorageBackend
    let admission: Admission
    let throttle: LoginThrottle
    let pool: any WorkExecutor
    let log: Logger
    let types: [any Module.Type]
    let moduleState: ProcessState
    let registry: AccountRegistry
    let secret: [UInt8]
    private let tally = Mutex(LoginCounts())
    let current: Mutex<Current>

    struct Current {
        var config: ServerConfig
        var groups: [HostGroup]
        var generation: Int
    }

    private init(
        config: ServerConfig, storage: any StorageBackend, secret: [UInt8], modules: [any Module.Type],
        state: ProcessState, loops: [any Loop], groups: [HostGroup], pool: (any WorkExecutor)?,
        courier: (any Courier)?, metrics: any MetricsFactory, log: Logger
    ) {
        office = PostOffice(loops: loops, courier: courier)
        self.storage = storage
        self.secret = secret
        self.log = log
        types = modules
        moduleState = state
        admission = Admission(config.limits)
        throttle = LoginThrottle(config.limits.failedLogins)
        self.pool = pool ?? WorkPool(threads: loops.count, limit: 1000)
        registry = AccountRegistry(storage: storage, pool: self.pool, office: office, hosts: config.hosts)
        let settings = KernelSettings(config, loops: loops.count)
        let (office, registry, admission) = (office, registry, admission)
        let empty = World(generation: 0, hosts: [:], domains: [:])
        shards = loops.map {
            Shard(
                loop: $0, office: office, storage: storage, registry: registry, admission: admission,
                settings: settings,
                world: empty, metrics: metrics, log: log)
        }
        registry.links = shards.map(\.link)
        current = Mutex(Current(config: config, groups: groups, generation: 1))
    }

    /// Makes the modules, builds the tables of every loop and begins to read mail. Opens no socket.
    ///
    /// - Parameters:
    ///   - secret: makes the keys that unknown users seem to have; the same after every restart.
    ///   - metrics: where the numbers go.
    /// - Throws: every error that the modules found in their sections, and of their fitting together.
    public static func start(
        config: ServerConfig, storage: any StorageBackend, secret: [UInt8], modules: [any Module.Type],
        loops: [any Loop], metrics: any MetricsFactory = MetricsSystem.factory, log: Logger
    ) async throws(ConfigErrors) -> Server {
        try await start(
            config: config, storage: storage, secret: secret, modules: modules, loops: loops, pool: nil, courier: nil,
            metrics: metrics, log: log)
    }

    /// - Parameters:
    ///   - pool: derives keys; nil: threads of its own.
    ///   - courier: to the other processes of a cluster; no transport between processes is built yet, so only tests
    ///     have one.
    package static func start(
        config: ServerConfig, storage: any StorageBackend, secret: [UInt8], modules: [any Module.Type],
        loops: [any Loop], pool: (any WorkExecutor)?, courier: (any Courier)?,
        metrics: any MetricsFactory = NOOPMetricsHandler.instance, log: Logger
    ) async throws(ConfigErrors) -> Server {
        let state = ProcessState()
        let context = HostContext(storage: storage, log: log, state: state)
        let loader = ModuleLoader(types: modules, context: context, file: config.file)
        let groups = try await loader.load(config.hosts)
        let server = Server(
            config: config, storage: storage, secret: secret, modules: modules, state: state, loops: loops,
            groups: groups, pool: pool, courier: courier, metrics: metrics, log: log)
        try server.check(groups)
        for shard in server.shards {
            var problems: [String] = []
            shard.use(ModuleLoader.world(groups, generation: 1, on: shard, problems: &problems))
            shard.loop.attach(shard)
            shard.loop.post(.work { shard.start() })
        }
        return server
    }

    /// Builds the tables once for their errors.
    func check(_ groups: [HostGroup]) throws(ConfigErrors) {
        var problems: [String] = []
        guard let shard = shards.first else { return }
        _ = ModuleLoader.world(groups, generation: 0, on: shard, problems: &problems)
        guard problems.isEmpty else {
            let file = current.withLock { $0.config.file }
            throw ConfigErrors(
                Set(problems).sorted().map { ConfigProblem(file: file, line: 0, key: "modules", reason: $0) })
        }
    }

    func shard(of loop: any Loop) -> Shard { shards[loop.index] }

    /// A connection has come, on its transport's loop; with direct TLS before the handshake, so that who never ends one
    /// counts too. One too many is cut at once.
    public func accept(_ transport: any StreamTransport, tls: TLSMode) -> any StreamHandler {
        guard admission.enter(transport.peer) else {
            count(\.refused)
            transport.abort()
            return Refusal()
        }
        let negotiation = ClientNegotiation(self, transport, tls: tls)
        negotiation.begin()
        if tls == .direct, transport.tls != nil { negotiation.tlsEstablished() }
        return negotiation
    }

    // MARK: Numbers

    struct LoginCounts {
        var authenticated = 0
        var rejected = 0
        var refused = 0
        var timedOut = 0
        /// Answered later because of failures before.
        var delayed = 0
        /// Not tried, for the same reason.
        var throttled = 0
        /// By a mechanism that was not offered.
        var notOffered = 0
        /// Messages of an authentication where none was due.
        var outOfTurn = 0
        /// By a mechanism for whose hash the account has no keys.
        var withoutKeys = 0
    }

    func count(_ field: WritableKeyPath<LoginCounts, Int>) {
        tally.withLock { $0[keyPath: field] += 1 }
    }

    var logins: LoginCounts { tally.withLock { $0 } }

    /// Runs `work` on every shard and collects what it says, in the order of the loops.
    func onEachShard<Value: Sendable>(_ work: @escaping @Sendable (Shard) -> Value) async -> [Value] {
        var values: [Value] = []
        for shard in shards {
            values.append(
                await withCheckedContinuation { continuation in
                    shard.loop.post(.work { continuation.resume(returning: work(shard)) })
                })
        }
        return values
    }

    // MARK: End

    /// Ends every session in order, keeps what they had not taken, lets modules stop, and waits for the disk.
    public func stop() async {
        _ = await onEachShard { shard in shard.spillAll() }
        await commitSoon()
        // So that senders are told of what is on disk before they are told of the end.
        for _ in 0..<3 { _ = await onEachShard { _ in } }
        _ = await onEachShard { shard in shard.stop() }
        // What the first round sent to other loops has arrived there when a second round has been everywhere.
        for _ in 0..<2 { _ = await onEachShard { _ in } }
        _ = await onEachShard { shard in shard.hibernate(all: true) }
        let groups = current.withLock { $0.groups }
        for group in groups {
            for module in group.modules { await module.stop() }
        }
        // A batch behind all others: when it is done, they are.
        _ = try? await storage.submit([])
        for _ in 0..<2 { _ = await onEachShard { _ in } }
    }
}

private final class Flag: Sendable {
    let value = Atomic<Bool>(false)
}

extension Server {
    /// Waits until the queued rows are on disk, two seconds at most: a stop waits for nothing that can wait.
    private func commitSoon() async {
        let isDone = Flag()
        storage.submit([]) { _ in isDone.value.store(true, ordering: .releasing) }
        for _ in 0..<1000 where !isDone.value.load(ordering: .acquiring) {
            try? await Task.sleep(for: .milliseconds(2))
        }
    }
}

extension StreamFeature {
    init(_ offered: OfferedFeature) {
        switch offered.moment {
        case .encrypted: self.init(offered.element, requires: .secure, forbids: .authenticated)
        case .authenticated: self.init(offered.element)
        }
    }
}

/// Hears out a connection that was cut.
private final class Refusal: StreamHandler {
    func streamOpened(_ header: StreamHeader) -> Directive { .stop }
    func received(_ element: XMLTree) -> Directive { .stop }
    func streamEnded() {}
    func streamFailed(_ error: StreamError) {}
    func tlsEstablished() {}
    func rehomed() {}
    func writable() {}
    func disconnected(clean: Bool) {}
}

extension Shard {
    func spillAll() {
        for session in Array(sessions.values) { session.spillAll() }
    }

    func stop() {
        isStopping = true
        for session in Array(sessions.values) {
            session.spillAll()
            session.end(.stopping)
        }
        for account in Array(accounts.values) + departing.values.joined() { account.existingSpool?.keepAllLeftovers() }
    }
}

extension Server {
    /// What each loop holds. Only for tests: on a running loop it would be a race.
    package var accountDescriptions: [String] {
        shards.flatMap { shard in
            shard.accounts.values.map { account in
                let sessions = account.sessionList.map {
                    "\($0.address.resource) \($0.priority) \($0.isConnected) \($0.isInterested) \($0.isDraining) "
                        + "\($0.outstanding?.queue.count ?? 0)"
                }
                return
                    "\(account.address): \(account.existingSpool?.stateDescription ?? "no spool"), sessions \(sessions)"
            }
        }
    }

    package var shardCounts: [(sessions: Int, accounts: Int, entities: Int)] {
        shards.map { ($0.sessions.count, $0.accounts.count, $0.entities.count) }
    }
}
