public import CoreMetrics
internal import Logging
public import ModuleKit
public import StorageMemory
internal import Synchronization
public import XMPPServer
internal import XMPPStream
internal import XMPPTransport

/// A whole server in one process and one thread, without a socket, with a clock that stands still: what tests of
/// modules and of the kernel run on.
///
///     let server = try await TestServer([MessagesModule.self])
///     let romeo = try server.login("romeo@example.org/orchard")
///     let juliet = try server.login("juliet@example.org/balcony")
///     romeo.send("<message to='juliet@example.org' type='chat'><body>Hi</body></message>")
///     server.settle()
///     try juliet.expect("<message from='romeo@example.org/orchard' type='chat'><body>Hi</body></message>")
///
/// Used by one task; what is not `Sendable` stays with it. End it with `stop()` or `crash()`.
public final class TestServer {
    public let simulation: SimulatedLoops
    public let server: Server
    /// Where faults are set.
    public let storage: FaultyStorage
    public let memory: MemoryStorage
    public private(set) var config: ServerConfig
    public var generator: SeededGenerator
    private var connections = 0
    private let password: String

    /// Starts it.
    ///
    /// - Parameters:
    ///   - modules: all of them enabled, with the options in `config` by their name.
    ///   - accounts: those that exist from the start, with `password`; local parts, at every host.
    ///   - adjust: changes of what is no module's.
    ///   - memory: what an earlier server has left.
    ///   - courier: takes what is for addresses of other processes.
    ///   - metrics: where the numbers go.
    public init(
        _ modules: [any Module.Type], config: [String: ConfigNode] = [:], hosts: [String] = ["example.org"],
        accounts: [String] = ["romeo", "juliet", "mercutio"], password: String = "secret", loops: Int = 2,
        seed: UInt64 = 1, memory: MemoryStorage? = nil, courier: (any Courier)? = nil,
        metrics: any MetricsFactory = NOOPMetricsHandler.instance,
        adjust: (inout ServerConfig) -> Void = { _ in }
    ) async throws {
        var config = try Self.config(
            hosts, modules.map { ModuleConfig(name: $0.info.name, node: config[$0.info.name] ?? .empty) })
        adjust(&config)
        let simulation = SimulatedLoops(loops)
        self.config = config
        self.simulation = simulation
        self.password = password
        self.memory = memory?.crash(executor: simulation) ?? MemoryStorage(executor: simulation)
        storage = FaultyStorage(self.memory)
        generator = SeededGenerator(seed: seed)
        server = try await Server.start(
            config: config, storage: storage, secret: Array("the same after every start".utf8), modules: modules,
            loops: simulation.loops, pool: SimulatedWork(loops: simulation), courier: courier,
            metrics: metrics, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        if memory == nil {
            for host in hosts {
                for account in accounts { addAccount("\(account)@\(host)") }
            }
        }
        settle()
    }

    /// A config as the file would give it, for hosts with these modules.
    public static func config(_ hosts: [String], _ modules: [ModuleConfig]) throws(ConfigErrors) -> ServerConfig {
        func scalar(_ text: String) -> ConfigNode { ConfigNode(.scalar(text, quoted: false)) }
        let node = ConfigNode(
            .map([
                ConfigEntry("hosts", ConfigNode(.list(hosts.map { scalar($0) }))),
                ConfigEntry(
                    "listen",
                    ConfigNode(
                        .list([
                            ConfigNode(.map([ConfigEntry("port", scalar("0")), ConfigEntry("tls", scalar("none"))]))
                        ]))),
                ConfigEntry("modules", ConfigNode(.map(modules.map { ConfigEntry($0.name, $0.node) }))),
            ]))
        let report = ConfigReport(file: "martlet.yml")
        var section = report.section(node)
        let surroundings = ServerConfig.Surroundings(directory: "/nowhere") { JID.prepared(domain: $0) }
        let config = ServerConfig(from: &section, in: surroundings)
        try report.finish()
        return config
    }

    /// Goes over to other modules, their options and hosts, as `reload` does.
    ///
    /// - Parameter hosts: nil: as before.
    @discardableResult
    public func reload(
        _ modules: [ModuleConfig], hosts: [String]? = nil, dryRun: Bool = false,
        adjust: (inout ServerConfig) -> Void = { _ in }
    ) async throws -> [ReloadStep] {
        var next = try Self.config(hosts ?? config.hosts.map(\.name), modules)
        adjust(&next)
        if !dryRun { config = next }
        let (server, config) = (server, next)
        return try await pump { () async -> Result<[ReloadStep], CommandError> in
            do throws(CommandError) {
                return .success(try await server.reload(config, dryRun: dryRun))
            } catch {
                return .failure(error)
            }
        }.get()
    }

    // MARK: Accounts and clients

    public func addAccount(_ address: String) {
        guard let account = BareJID(address), let password = PreparedPassword(password) else { return }
        let salt = Array("saltsaltsaltsalt".utf8)
        let credentials = HashFunction.allCases.map { hash in
            Credential(keys: ScramCredential(deriving: hash, from: password, iterations: 1, salt: salt)).stored
        }
        let creation = Mutation.createAccount(
            host: account.domain, local: account.local, created: simulation.clock.wallClock, credentials: credentials)
        memory.submit([creation]) { [server] result in
            if case .success(let outcomes) = result, case .owner = outcomes.first { server.accountCreated(account) }
        }
    }

    /// Removes an account as the command does.
    public func removeAccount(_ address: String) async {
        guard let account = BareJID(address) else { return }
        let server = server
        _ = await pump { try? await server.removeAccount(account) }
        settle()
    }

    /// A client that has not connected yet: `logIn()` begins.
    public func client(_ address: String, _ options: TestClient.Options = .init()) -> TestClient {
        guard let address = JID(address) else { preconditionFailure("the test's address is none: \(address)") }
        return TestClient(address.bare, resource: address.resource, options) { [self] client in connect(client) }
    }

    /// Logs in and sends the presence of `priority`, if it is not nil.
    public func login(
        _ address: String, priority: Int? = 0, management: Bool = false, framing: TestClient.FramingKind = .stream
    ) throws -> TestClient {
        var options = TestClient.Options()
        options.priority = priority
        options.management = management
        options.framing = framing
        let client = client(address, options)
        client.logIn()
        settle()
        guard client.phase == .ready else {
            throw ExpectationFailure(description: "\(address) could not log in: \(client.errors)")
        }
        return client
    }

    /// A client of another server, with all that it remembers, uses this one from its next connection on.
    public func adopt(_ client: TestClient) {
        client.connect = { [self] client in connect(client) }
    }

    private func connect(_ client: TestClient) -> MemoryTransport {
        connections += 1
        let loop = simulation.loops[connections % simulation.loops.count]
        let stream = client.makeStream()
        // The other end has a parser of its own.
        let serverSide = client.makeStream()
        serverSide.framing.limits = .unauthenticated
        let transport = MemoryTransport(
            simulation, loop: loop, framing: serverSide.framing, client: stream,
            isSecure: [.plain, .external].contains(client.options.mechanism) && !client.options.startsTLS,
            certificate: client.options.certificate, from: client.options.peer,
            name: "\(client.account.local)/\(client.resource)#\(connections)")
        stream.transport = transport
        client.attach(stream)
        let mode: TLSMode = client.options.startsTLS ? .required : transport.tls == nil ? .none : .direct
        let server = server
        simulation.turn(loop.index) { transport.handler = server.accept(transport, tls: mode) }
        return transport
    }

    /// A number of `martlet status`; a module's counter is `MODULE_NAME`.
    public func status(_ name: String) async -> Int? {
        let server = server
        let output = await pump { try? await server.run("status", CommandInput()) }
        guard case .table(_, let rows) = output else { return nil }
        return rows.first { $0[0] == name }.flatMap { Int($0[1]) }
    }

    // MARK: Time

    /// Until nothing more happens at this moment of the clock.
    public func settle() {
        simulation.settle(&generator)
    }

    /// Settles, lets time pass, settles. Timers on the way fire in their order.
    public func advance(by duration: Duration) {
        settle()
        let end = simulation.clock.now.advanced(by: duration)
        while let next = simulation.nextDeadline, next < end {
            simulation.clock.advance(to: next)
            settle()
        }
        simulation.clock.advance(to: end)
        settle()
    }

    /// Runs what is asynchronous while the loops go on.
    public func pump<Value: Sendable>(_ work: @escaping @Sendable () async -> Value) async -> Value {
        let box = Box<Value>()
        Task.detached {
            let value = await work()
            box.value.withLock { $0 = value }
        }
        while true {
            if let value = box.value.withLock({ $0 }) { return value }
            if !simulation.step(&generator) { await Task.yield() }
        }
    }

    private final class Box<Value: Sendable>: Sendable {
        let value = Mutex<Value?>(nil)
    }

    // MARK: End

    /// Stops in order. What it kept is in the storage that this returns, for the next one.
    @discardableResult
    public func stop() async -> MemoryStorage {
        let server = server
        _ = await pump {
            await server.stop()
            return true
        }
        settle()
        simulation.tearDown()
        return memory
    }

    /// The process dies: what is not committed is lost.
    @discardableResult
    public func crash() -> MemoryStorage {
        simulation.tearDown()
        return memory
    }
}

extension TestServer {
    /// What the server holds in memory, all loops together.
    public struct Counts: Hashable, Sendable {
        public var sessions = 0
        public var accounts = 0
        public var entities = 0
    }

    public var counts: Counts {
        server.shardCounts.reduce(into: Counts()) { counts, shard in
            counts.sessions += shard.sessions
            counts.accounts += shard.accounts
            counts.entities += shard.entities
        }
    }
}
