import ModuleKit
import XMPPStream

/// Everything that modules do for one group of hosts of equal config, on one loop.
final class HostTable {
    let received: CompiledPoint<Received>
    let arriving: CompiledPoint<Arriving>
    let sending: CompiledPoint<Sending>
    let undeliverable: CompiledPoint<Undeliverable>
    let authenticated: [(Authenticated) -> AuthenticatedVerdict]
    let inline: [(inout Inline) -> Void]
    let bound: [(any Session) -> Void]
    let available: [(any Session) -> Void]
    let closed: [(module: String, handler: (any Session) -> Void)]
    /// By name.
    let modules: Set<String>
    let silence: [SilenceHandler]
    let chores: [Chore]
    /// One at most for a namespace.
    let elements: [ElementHandler]
    let accountCreated: [(any Account) -> Void]
    let accountRemoved: [(any Account) -> Void]
    /// Who has a say at the moments, for `modules --pipeline`.
    let moments: [(name: String, modules: [String])]
    let iq: IQTable
    let streamRequests: StreamTable
    let disco: [Target: DiscoInfo]
    let discoNodes: DiscoNodes
    let loaders: [AccountLoader]
    let streamFeatures: [OfferedFeature]
    let spoolPolicy: SpoolPolicy?
    let counters: [Counter]
    let domains: [DomainBuilder]
    let commands: [Command]
    let contacts: (any ContactService)?
    let ruleKeeper: RuleKeeper?

    init(_ builder: HostBuilder, modules: Set<String>, problems: inout [String]) {
        self.modules = modules
        received = .compile(builder.received, named: "received", problems: &problems)
        arriving = .compile(builder.arriving, named: "arriving", problems: &problems)
        sending = .compile(builder.sending, named: "sending", problems: &problems)
        undeliverable = .compile(builder.undeliverable, named: "undeliverable", problems: &problems)
        authenticated = builder.authenticated.registrations.map(\.handler)
        inline = builder.inline.registrations.map(\.handler)
        bound = builder.bound.registrations.map(\.handler)
        available = builder.available.registrations.map(\.handler)
        closed = builder.closed.registrations
        silence = builder.silence
        chores = builder.chores
        elements = Self.elements(builder.elements, &problems)
        accountCreated = builder.accountCreated.registrations.map(\.handler)
        accountRemoved = builder.accountRemoved.registrations.map(\.handler)
        moments = Self.moments(builder)
        iq = IQTable(builder.iqRoutes, problems: &problems)
        streamRequests = StreamTable(builder.streamRoutes, problems: &problems)
        disco = builder.disco
        discoNodes = DiscoNodes(builder.discoNodes, problems: &problems)
        loaders = builder.loaders
        streamFeatures = builder.streamFeatures
        spoolPolicy = builder.spoolPolicy
        counters = builder.counters
        domains = builder.domains
        commands = builder.commands
        contacts = builder.find((any ContactService).self)
        ruleKeeper = builder.find(RuleKeeper.self)
    }

    private static func elements(_ handlers: [ElementHandler], _ problems: inout [String]) -> [ElementHandler] {
        for (index, handler) in handlers.enumerated() {
            for other in handlers[..<index] where other.namespace == handler.namespace {
                problems.append("\(other.module) and \(handler.module) both take elements of \(handler.namespace)")
            }
        }
        return handlers
    }

    /// In the order of a session's life.
    private static func moments(_ builder: HostBuilder) -> [(name: String, modules: [String])] {
        [
            ("authenticated", builder.authenticated.registrations.map(\.module)),
            ("inline", builder.inline.registrations.map(\.module)),
            ("bound", builder.bound.registrations.map(\.module)),
            ("elements", builder.elements.map { "\($0.module) of \($0.namespace)" }),
            ("available", builder.available.registrations.map(\.module)),
            ("idle", builder.silence.map { "\($0.module) after \($0.after)" }),
            ("closed", builder.closed.registrations.map(\.module)),
            ("accountCreated", builder.accountCreated.registrations.map(\.module)),
            ("accountRemoved", builder.accountRemoved.registrations.map(\.module)),
        ]
    }

    /// The first module that refuses is the last one that is asked.
    func verdict(on event: Authenticated) -> AuthenticatedVerdict {
        for handler in authenticated {
            let verdict = handler(event)
            guard verdict == .proceed else { return verdict }
        }
        return .proceed
    }
}

/// A module's own domain under one virtual host, on one loop.
final class DomainTable {
    let domain: String
    let disco: DiscoInfo
    let iq: IQTable
    let entities: EntityKind?

    /// - Parameters:
    ///   - common: what modules answer at every domain beside the host, unless it answers itself.
    ///   - features: of those answers.
    init(
        _ builder: DomainBuilder, domain: String, common: [IQRoute], features: Set<Namespace>,
        problems: inout [String]
    ) {
        self.domain = domain
        var disco = builder.disco
        disco.features.formUnion(features)
        self.disco = disco
        let own = builder.iqRoutes
        let rest = common.filter { route in
            !own.contains {
                $0.type == route.type && $0.namespace == route.namespace && "\($0.name)" == "\(route.name)"
            }
        }
        iq = IQTable(own + rest.map { $0.at(.host) }, problems: &problems)
        entities = builder.entities
    }
}

/// Requests by what they ask, in one table; no two handlers for one.
struct IQTable {
    struct Key: Hashable {
        let type: IQRoute.RequestType
        let namespace: Namespace
        let name: String
        let target: Target
    }

    private var routes: [Key: IQRoute] = [:]
    /// In the order of registration, for `modules --pipeline`.
    let all: [IQRoute]

    init(_ routes: [IQRoute], problems: inout [String]) {
        all = routes
        for route in routes {
            for target in route.targets {
                let key = Key(type: route.type, namespace: route.namespace, name: "\(route.name)", target: target)
                if let other = self.routes[key] {
                    problems.append(
                        "\(other.module) and \(route.module) both answer iq \(route.type) \(route.name) in "
                            + "\(route.namespace) at the \(target)")
                }
                self.routes[key] = route
            }
        }
    }

    /// Whether this is answered at its address though there is no such account.
    func answersForNobody(_ stanza: Stanza) -> Bool {
        guard stanza.isRequest, let to = stanza.to, let payload = stanza.payload else { return false }
        return switch route(stanza.type == .get ? .get : .set, payload, at: .account)?.nobody {
        case nil, .unanswered: false
        case .atBareAddress: to.isBare
        case .atEveryAddress: true
        }
    }

    func route(_ type: IQRoute.RequestType, _ payload: ElementView, at target: Target) -> IQRoute? {
        guard let namespace = payload.namespace else { return nil }
        return routes[Key(type: type, namespace: namespace, name: payload.name, target: target)]
    }
}

/// What is answered on streams before authentication.
struct StreamTable {
    private struct Key: Hashable {
        let type: IQRoute.RequestType
        let request: EarlyRequest
    }

    private var routes: [Key: StreamRoute] = [:]
    let requests: Set<EarlyRequest>
    /// In the order of registration, for `modules --pipeline`.
    let all: [StreamRoute]

    init(_ routes: [StreamRoute], problems: inout [String]) {
        all = routes
        requests = Set(routes.map { EarlyRequest("\($0.name)", $0.namespace) })
        for route in routes {
            let key = Key(type: route.type, request: EarlyRequest("\(route.name)", route.namespace))
            if let other = self.routes[key] {
                problems.append("\(other.module) and \(route.module) both answer \(route.name) on streams")
            }
            self.routes[key] = route
        }
    }

    func route(_ type: IQRoute.RequestType, _ payload: ElementView) -> StreamRoute? {
        guard let namespace = payload.namespace else { return nil }
        return routes[Key(type: type, request: EarlyRequest(payload.name, namespace))]
    }
}

/// The nodes of a host and of its accounts.
struct DiscoNodes {
    private struct Key: Hashable {
        let name: String
        let target: Target
    }

    private var nodes: [Key: DiscoNode] = [:]
    /// In the order of registration, for `modules --pipeline`.
    let all: [DiscoNode]

    init(_ nodes: [DiscoNode], problems: inout [String]) {
        all = nodes
        for node in nodes {
            let key = Key(name: node.name, target: node.target)
            if let other = self.nodes[key] {
                problems.append("\(other.module) and \(node.module) both have the node \(node.name)")
            }
            self.nodes[key] = node
        }
    }

    subscript(_ name: String, _ target: Target) -> DiscoNode? { nodes[Key(name: name, target: target)] }
}

/// All tables of one loop. Immutable; a reload puts another in its place.
final class World {
    let generation: Int
    /// By virtual host.
    let hosts: [String: HostTable]
    /// By full domain of a module's service.
    let domains: [String: DomainTable]

    /// The chores of all hosts, once for hosts that share a table.
    let chores: [Chore]

    init(generation: Int, hosts: [String: HostTable], domains: [String: DomainTable]) {
        self.generation = generation
        self.hosts = hosts
        self.domains = domains
        var seen: Set<ObjectIdentifier> = []
        chores = hosts.sorted { $0.key < $1.key }.map(\.value).flatMap { table in
            seen.insert(ObjectIdentifier(table)).inserted ? table.chores : []
        }
    }
}
