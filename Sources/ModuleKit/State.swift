/// What modules keep with a session, an account or a host: at most one object per type. It survives a reload, because
/// no module instance holds it (DESIGN: state never lives in a module instance). Few entries, so a list.
public struct StateContainer {
    private var objects: [(type: ObjectIdentifier, object: AnyObject)] = []

    public init() {}

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
