public import XMPPCore

/// A service with a domain of its own, while it is built.
public struct DomainBuilder {
    public let module: String
    /// The part before `.HOST`.
    public let prefix: String
    public var disco = DiscoInfo()
    public private(set) var iqRoutes: [IQRoute] = []
    public private(set) var entities: EntityKind?

    init(module: String, prefix: String) {
        self.module = module
        self.prefix = prefix
        disco.features = [.discoInfo, .discoItems]
    }

    /// A request to the domain itself.
    public mutating func iq(
        _ type: IQRoute.RequestType, _ namespace: Namespace, _ name: StaticString,
        _ handler: @escaping (IQRequest) throws(StanzaError) -> Element?
    ) {
        iqRoutes.append(
            IQRoute(
                module: module, type: type, namespace: namespace, name: name, targets: [.host], asker: .anyone,
                handler: .now(handler)))
    }

    /// Every `KEY@domain` is an entity with a home loop, a bounded inbox and a state that is loaded before its first
    /// stanza and written back when it has been silent for `idle`.
    ///
    /// - Parameters:
    ///   - load: on a storage thread.
    ///   - receive: on the entity's loop, one stanza at a time, all kinds.
    ///   - save: what has to be stored before the entity may be forgotten. If that fails it stays.
    public mutating func confined<State: AnyObject>(
        _ type: State.Type, idle: Duration,
        load: @escaping @Sendable (any StorageSnapshot, OwnerID) throws(StorageError) -> Moved<State>,
        receive: @escaping (Entity<State>, Envelope) -> Void,
        save: @escaping (Entity<State>) -> [Mutation]
    ) {
        entities = EntityKind(
            idle: idle,
            load: { snapshot, owner throws(StorageError) in Moved(try load(snapshot, owner).value as AnyObject) },
            receive: { context, object, envelope in
                guard let state = object as? State else { return }
                receive(Entity(context, state), envelope)
            },
            save: { context, object in
                guard let state = object as? State else { return [] }
                return save(Entity(context, state))
            })
    }
}

/// The kind of entity a domain has, its state's type erased.
public struct EntityKind {
    public let idle: Duration
    public let load: @Sendable (any StorageSnapshot, OwnerID) throws(StorageError) -> Moved<AnyObject>
    public let receive: (EntityContext, AnyObject, Envelope) -> Void
    public let save: (EntityContext, AnyObject) -> [Mutation]
}

/// Where an entity stands: its address, its number in the stores and its loop.
public struct EntityContext {
    public let address: BareJID
    public let owner: OwnerID
    public let kernel: any Kernel

    public init(address: BareJID, owner: OwnerID, kernel: any Kernel) {
        self.address = address
        self.owner = owner
        self.kernel = kernel
    }
}

/// One resident entity with its state, on its home loop.
public struct Entity<State: AnyObject> {
    public let context: EntityContext
    public let state: State

    init(_ context: EntityContext, _ state: State) {
        self.context = context
        self.state = state
    }
}
