import Synchronization

/// What modules keep for the whole process, whatever is reloaded: at most one object per type, which all loops and all
/// instances share, so it does its own locking. For what is rare, such as `RateLimiter`.
public final class ProcessState: Sendable {
    private let objects = Mutex<[ObjectIdentifier: any AnyObject & Sendable]>([:])

    public init() {}

    /// The object of this type, made on first use.
    public func obtain<State: AnyObject & Sendable>(_ type: State.Type, _ make: () -> State) -> State {
        objects.withLock { objects in
            if let object = objects[ObjectIdentifier(type)] as? State { return object }
            let object = make()
            objects[ObjectIdentifier(type)] = object
            return object
        }
    }
}

/// State that somebody outside can make larger. Accounts are kept in memory by their weight; small state need not be
/// weighed.
public protocol Weighed: AnyObject {
    /// Bytes of memory, roughly; cheap to ask.
    var byteCount: Int { get }
}

/// What modules keep with a session, an account or a host: at most one object per type. It survives a reload, because
/// no module instance holds it (DESIGN: state never lives in a module instance). Few entries, so a list.
public struct StateContainer {
    private var objects: [(type: ObjectIdentifier, object: AnyObject)] = []

    public init() {}

    /// Bytes of all that is weighed, and a little for each of the rest.
    public var byteCount: Int {
        objects.reduce(0) { $0 + (($1.object as? any Weighed)?.byteCount ?? 64) }
    }

    public subscript<State: AnyObject>(_ type: State.Type) -> State? {
        get {
            let wanted = ObjectIdentifier(type)
            for entry in objects where entry.type == wanted {
                return unsafeDowncast(entry.object, to: State.self)
            }
            return nil
        }
        set {
            let wanted = ObjectIdentifier(type)
            objects.removeAll { $0.type == wanted }
            if let newValue { objects.append((wanted, newValue)) }
        }
    }

    /// The state of this type, made on first use.
    public mutating func obtain<State: AnyObject>(_ type: State.Type, _ make: () -> State) -> State {
        if let state = self[type] { return state }
        let state = make()
        self[type] = state
        return state
    }
}
