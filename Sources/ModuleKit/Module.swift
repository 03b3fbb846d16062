public import Logging
public import XMPPCore

/// A specification a module implements; feeds the table of `docs/XEPS.md`.
public struct Specification: Hashable, Sendable {
    public var name: String
    public var version: String
    /// What is left out, in words; empty: complete.
    public var missing: String

    public static func xep(_ number: Int, version: String, missing: String = "") -> Specification {
        let digits = String(number)
        let padded = String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        return Specification(name: "XEP-\(padded)", version: version, missing: missing)
    }

    public static func rfc(_ number: Int, missing: String = "") -> Specification {
        Specification(name: "RFC \(number)", version: "", missing: missing)
    }
}

/// What a module says of itself before anything of it runs.
public struct ModuleInfo: Sendable {
    /// The key of its section under `modules`.
    public let name: String
    public let specifications: [Specification]
    /// Service protocols that another enabled module must provide: `[(any RosterService).self]`.
    public let needs: [any Any.Type]
    /// The same, but that it works without: the operator is warned.
    public let wants: [any Any.Type]
    public let provides: [any Any.Type]
    /// False: not everybody wants it, so a config that is made for somebody leaves it out.
    public let isUsual: Bool

    public init(
        _ name: String, _ specifications: [Specification] = [], needs: [any Any.Type] = [],
        wants: [any Any.Type] = [], provides: [any Any.Type] = [], isUsual: Bool = true
    ) {
        self.name = name
        self.specifications = specifications
        self.needs = needs
        self.wants = wants
        self.provides = provides
        self.isUsual = isUsual
    }
}

/// Something that a module lacks of another one.
public struct ModuleLack: Hashable, Sendable {
    public let module: String
    public let reason: String
    /// False: a warning.
    public let isError: Bool
}

extension ModuleInfo {
    /// The services that modules lack of one another.
    ///
    /// - Parameters:
    ///   - enabled: in the order in which they start.
    ///   - all: those that the config could enable.
    public static func lacks(of enabled: [ModuleInfo], among all: [ModuleInfo]) -> [ModuleLack] {
        var provided: Set<ObjectIdentifier> = []
        var lacks: [ModuleLack] = []
        func providers(_ need: any Any.Type) -> String {
            let names = all.filter { $0.provides.contains { $0 == need } }.map(\.name)
            return names.isEmpty ? "a module that provides \(need)" : names.joined(separator: " or ")
        }
        for info in enabled {
            for need in info.needs where !provided.contains(ObjectIdentifier(need)) {
                let reason = "needs \(providers(need)), which is not enabled"
                lacks.append(ModuleLack(module: info.name, reason: reason, isError: true))
            }
            for want in info.wants where !provided.contains(ObjectIdentifier(want)) {
                let reason = "is of little use without \(providers(want)), which is not enabled"
                lacks.append(ModuleLack(module: info.name, reason: reason, isError: false))
            }
            provided.formUnion(info.provides.map { ObjectIdentifier($0) })
        }
        return lacks
    }
}

/// A part of the server that the config enables by name.
///
/// Life: `info` → `Options.init(from:)` → `init(_:in:)` → `install(on:)` once per event loop → … → `stop()`. An instance
/// is options and wiring only; what it knows of sessions and accounts is kept with those (`StateContainer`), so a reload
/// has nothing to hand over.
public protocol Module: Sendable {
    associatedtype Options: ModuleOptions

    static var info: ModuleInfo { get }
    /// Opens what it needs; no registration, no effect elsewhere. One instance serves all hosts whose section is equal.
    init(_ options: Options, in host: HostContext) async throws
    /// Declares everything the module does. Cheap and repeatable: called once per event loop.
    func install(on host: inout HostBuilder)
    /// Only for what `init` opened beyond stores.
    func stop() async
}

extension Module {
    public func stop() async {}
}

/// No options at all: an empty section.
public struct NoOptions: ModuleOptions {
    public init(from section: inout ConfigSection) {}
}

/// What a module has at hand while it is made.
public struct HostContext: Sendable {
    public let storage: any StorageBackend
    public let log: Logger
    /// What outlives the instance, when a reload makes another one.
    public let state: ProcessState

    public init(storage: any StorageBackend, log: Logger, state: ProcessState) {
        self.storage = storage
        self.log = log
        self.state = state
    }
}

/// A value handed from a storage thread to the loop that will own it; touched by one side at a time.
public struct Moved<Value>: @unchecked Sendable {
    // Confined: written by the one that makes it, read once by the one that gets it.
    public let value: Value

    public init(_ value: sending Value) {
        self.value = value
    }
}

/// A value of one loop, carried through the threads of a store and back: touched on that loop only.
public struct Confined<Value>: @unchecked Sendable {
    // Confined: whoever carries it does not look inside.
    public let value: Value

    public init(_ value: Value) {
        self.value = value
    }
}

/// Reads what a module keeps of an account, before the account's first stanza: on a storage thread, in one snapshot
/// with all other loaders.
public struct AccountLoader: Sendable {
    /// Whether the state is there already.
    public let isLoaded: @Sendable (StateContainer) -> Bool
    public let load:
        @Sendable (any StorageSnapshot, OwnerID) throws(StorageError) -> Moved<(inout StateContainer) -> Void>
}

/// Where a module declares what it does on one host (or several of equal config), on one event loop.
public struct HostBuilder {
    /// The loop this table is for.
    public let kernel: any Kernel
    /// The hosts that the table is for.
    public let hosts: [String]

    public var received = HotPoint<Received>()
    public var arriving = HotPoint<Arriving>()
    public var sending = HotPoint<Sending>()
    public var undeliverable = HotPoint<Undeliverable>()

    /// A client proved who it is, before it resumes or binds: refuse it or just watch. On the account's home loop.
    public var authenticated = MomentPoint<(Authenticated) -> AuthenticatedVerdict>()
    /// A session is being made, between its bind request and the answer.
    public var inline = MomentPoint<(inout Inline) -> Void>()
    /// A session got its resource, before its first stanza.
    public var bound = SessionPoint()
    /// A session became able to take messages for the bare address: after the presence itself was handled.
    public var available = SessionPoint()
    /// A session has ended for good; it still has its presence.
    public var closed = SessionPoint()
    /// An account was made, durably.
    public var accountCreated = AccountPoint()
    /// An account was removed, durably: its rows are gone and its sessions have ended; what was in memory of it is
    /// still there.
    public var accountRemoved = AccountPoint()

    public private(set) var disco: [Target: DiscoInfo] = [:]
    public private(set) var discoNodes: [DiscoNode] = []
    public private(set) var iqRoutes: [IQRoute] = []
    public private(set) var streamRoutes: [StreamRoute] = []
    public private(set) var loaders: [AccountLoader] = []
    public private(set) var domains: [DomainBuilder] = []
    public private(set) var commands: [Command] = []
    public private(set) var counters: [Counter] = []
    public private(set) var streamFeatures: [OfferedFeature] = []
    public private(set) var spoolPolicy: SpoolPolicy?
    public private(set) var silence: [SilenceHandler] = []
    public private(set) var chores: [Chore] = []
    public private(set) var elements: [ElementHandler] = []
    private var services: [ObjectIdentifier: Any] = [:]
    private var module = ""

    public init(kernel: any Kernel, hosts: [String]) {
        self.kernel = kernel
        self.hosts = hosts
    }

    /// The loader names the module whose `install` comes next.
    public mutating func begin(_ module: String) {
        self.module = module
        received.module = module
        arriving.module = module
        sending.module = module
        undeliverable.module = module
        authenticated.module = module
        inline.module = module
        bound.module = module
        available.module = module
        closed.module = module
        accountCreated.module = module
        accountRemoved.module = module
    }

    /// Advertises a feature at these targets (XEP-0030 §3). What runs is advertised: call it where the feature is
    /// installed.
    public mutating func feature(_ namespace: Namespace, at targets: [Target] = [.host]) {
        for target in targets { disco[target, default: DiscoInfo()].features.insert(namespace) }
    }

    public mutating func identity(_ identity: DiscoInfo.Identity, at target: Target = .host) {
        disco[target, default: DiscoInfo()].identities.append(identity)
    }

    /// Facts beside the features (XEP-0128); the form has a `FORM_TYPE` that no other one of the target has.
    public mutating func discoForm(_ form: DataForm, at target: Target = .host) {
        disco[target, default: DiscoInfo()].forms.append(form)
    }

    /// Answers for a node of the host or of each account.
    public mutating func discoNode(
        _ name: String, at target: Target, _ handler: @escaping (DiscoQuery) -> Void
    ) {
        discoNodes.append(DiscoNode(module: module, name: name, target: target, handler: handler))
    }

    /// Offers a feature on streams (RFC 6120 §4.3.2).
    public mutating func streamFeature(_ element: Element, _ moment: OfferedFeature.Moment = .authenticated) {
        streamFeatures.append(OfferedFeature(element: element, moment: moment))
    }

    /// Answers a request on streams that are encrypted and not authenticated.
    public mutating func streamIQ(
        _ type: IQRoute.RequestType, _ namespace: Namespace, _ name: StaticString,
        _ handler: @escaping StreamRoute.Handler
    ) {
        streamRoutes.append(
            StreamRoute(module: module, type: type, namespace: namespace, name: name, handler: handler))
    }

    public mutating func iq(
        _ type: IQRoute.RequestType, _ namespace: Namespace, _ name: StaticString, at targets: [Target],
        from asker: IQRoute.Asker, _ handler: @escaping (IQRequest) throws(StanzaError) -> Element?
    ) {
        add(type, namespace, name, targets, asker, .now(handler))
    }

    /// Answers also for accounts that there are not, so that nobody can tell them from those that there are.
    ///
    /// - Parameter nobody: `.atEveryAddress` where a module keeps requests from clients that are there.
    public mutating func iqForAnybody(
        _ type: IQRoute.RequestType, _ namespace: Namespace, _ name: StaticString,
        answering order: IQRoute.Order = .inOrder, nobody: IQRoute.Nobody = .atBareAddress,
        _ handler: @escaping (IQRequest, IQResponder) throws(StanzaError) -> Void
    ) {
        add(type, namespace, name, [.account], .anyone, .later(order, handler), nobody: nobody)
    }

    /// Answers later, by the responder. In order: the session's next stanza waits for the answer (RFC 6120 §10.1).
    public mutating func iq(
        _ type: IQRoute.RequestType, _ namespace: Namespace, _ name: StaticString, at targets: [Target],
        from asker: IQRoute.Asker, answering order: IQRoute.Order,
        _ handler: @escaping (IQRequest, IQResponder) throws(StanzaError) -> Void
    ) {
        add(type, namespace, name, targets, asker, .later(order, handler))
    }

    private mutating func add(
        _ type: IQRoute.RequestType, _ namespace: Namespace, _ name: StaticString, _ targets: [Target],
        _ asker: IQRoute.Asker, _ handler: IQRoute.Handler, nobody: IQRoute.Nobody = .unanswered
    ) {
        iqRoutes.append(
            IQRoute(
                module: module, type: type, namespace: namespace, name: name, targets: targets, asker: asker,
                handler: handler, nobody: nobody))
    }

    /// Loads this module's state of an account with it.
    public mutating func loadAccount<State: AnyObject>(
        _ type: State.Type,
        _ load: @escaping @Sendable (any StorageSnapshot, OwnerID) throws(StorageError) -> Moved<State>
    ) {
        loaders.append(
            AccountLoader(
                isLoaded: { container in container[State.self] != nil },
                load: { snapshot, owner throws(StorageError) in
                    let state = try load(snapshot, owner)
                    return Moved { container in container[State.self] = state.value }
                }))
    }

    /// Owns `prefix.HOST` for each host: a service with a domain of its own.
    public mutating func domain(_ prefix: String, _ build: (inout DomainBuilder) -> Void) {
        var domain = DomainBuilder(module: module, prefix: prefix)
        build(&domain)
        domains.append(domain)
    }

    public mutating func command(_ command: Command) {
        commands.append(command)
    }

    /// A number that only grows, summed over the loops by `martlet status` and later exporters.
    public mutating func counter(_ name: String, _ meaning: String) -> Counter {
        let counter = Counter(module: module, name: name, meaning: meaning)
        counters.append(counter)
        return counter
    }

    /// How messages are kept for accounts of this host. One module says it; without one nothing is kept.
    public mutating func spool(_ policy: SpoolPolicy) {
        spoolPolicy = policy
    }

    /// Takes the elements of this namespace that clients send beside their stanzas. They are taken at once, also where
    /// stanzas before them have to wait. What comes between authentication and the resource is taken when the session
    /// is there; before a resumption it is lost with the stream that it was said on. `handler` answers false for an
    /// element that does not exist: the stream then ends as it does for every such element (RFC 6120 §4.9.3.24).
    public mutating func elements(
        of namespace: Namespace, _ handler: @escaping (any Session, ElementView) -> Bool
    ) {
        elements.append(ElementHandler(module: module, namespace: namespace, handler: handler))
    }

    /// Calls once per silence: when a connected client has sent no byte for so long, and again only after it has.
    /// Costs nothing per stanza.
    public mutating func idle(after silence: Duration, _ handler: @escaping (any Session) -> Void) {
        self.silence.append(SilenceHandler(module: module, after: silence, handler: handler))
    }

    /// Calls again and again while the server runs, for what is done in small steps beside everything else. On every
    /// loop; what is to be done once asks `kernel.loopIndex`.
    ///
    /// - Parameter step: returns after which time it is called again; at least a millisecond.
    public mutating func chore(_ step: @escaping (any Kernel) -> Duration) {
        chores.append(Chore(step: step))
    }

    public mutating func provide<Service>(_ type: Service.Type, _ service: Service) {
        services[ObjectIdentifier(type)] = service
    }

    /// A service that a module before this one provides; never nil for one named in `info.needs`.
    public func find<Service>(_ type: Service.Type) -> Service? {
        services[ObjectIdentifier(type)] as? Service
    }
}

/// A stream feature, and when it is offered.
public struct OfferedFeature: Hashable, Sendable {
    public enum Moment: Hashable, Sendable {
        /// The stream is encrypted, and nobody is authenticated.
        case encrypted
        case authenticated
    }

    public let element: Element
    public let moment: Moment
}

/// How long and how much is kept per account (XEP-0160 §3).
public struct SpoolPolicy: Hashable, Sendable {
    public var limit: Int
    public var expiry: Duration

    public init(limit: Int, expiry: Duration) {
        self.limit = limit
        self.expiry = expiry
    }
}

/// A declared number of one loop; only touched there.
public final class Counter {
    public let module: String
    public let name: String
    public let meaning: String
    public var value = 0

    init(module: String, name: String, meaning: String) {
        self.module = module
        self.name = name
        self.meaning = meaning
    }
}
