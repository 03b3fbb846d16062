import ModuleKit

/// Stands at the door: counts who comes, and says what its option says.
struct DoorModule: Module {
    static let info = ModuleInfo("door")

    struct Options: ModuleOptions {
        var says: String
        init(from section: inout ConfigSection) { says = section.string("says", default: "proceed", "What it says.") }
    }

    /// Who came to this loop; of one table.
    private final class Guests {
        var addresses: Set<BareJID> = []
    }

    let options: Options
    init(_ options: Options, in host: HostContext) { self.options = options }

    func install(on host: inout HostBuilder) {
        let guests = Guests()
        let known = host.counter("known", "Who came with what a TestClient has.")
        let home = host.counter("home", "Sessions whose account had authenticated on their own loop.")
        host.authenticated.add { event in
            guests.addresses.insert(event.account)
            if event.mechanism == "SCRAM-SHA-256", event.peer.address == "192.0.2.1", event.tls == nil {
                known.value += 1
            }
            return verdict
        }
        host.bound.add { session in
            if guests.addresses.contains(session.address.bare) { home.value += 1 }
        }
    }

    private var verdict: AuthenticatedVerdict {
        switch options.says {
        case "disabled": .refuse(.accountDisabled, text: "Ask the abbess.")
        case "close": .close(.policyViolation)
        default: .proceed
        }
    }
}

/// Never asked when the door before it has refused.
struct SecondDoorModule: Module {
    static let info = ModuleInfo("second-door")
    init(_ options: NoOptions, in host: HostContext) {}

    func install(on host: inout HostBuilder) {
        let asked = host.counter("asked", "How often it was asked.")
        host.authenticated.add { _ in
            asked.value += 1
            return .proceed
        }
    }
}

/// Answers what clients ask for with their resource, and says hello to whoever is bound.
struct InlineModule: Module {
    static let info = ModuleInfo("inline")
    static let namespace: Namespace = "urn:example:inline"

    struct Options: ModuleOptions {
        var does: String
        init(from section: inout ConfigSection) { does = section.string("does", default: "answer", "What it does.") }
    }

    let options: Options
    init(_ options: Options, in host: HostContext) { self.options = options }

    func install(on host: inout HostBuilder) {
        let empty = host.counter("empty", "Sessions that were made without a request.")
        host.inline.add { event in
            if event.requests.isEmpty, event.session.account.session(event.session.address.resource) == nil {
                empty.value += 1
            }
            switch options.does {
            case "answer": event.answer(Element("welcome", Self.namespace))
            case "close": event.session.close(.policyViolation)
            default: if let request = event.request("ask", Self.namespace) { event.answer(request) }
            }
        }
        host.bound.add { session in session.push(Element("hello", Self.namespace)) }
    }
}

/// Tells clients that they are silent.
struct SilenceModule: Module {
    static let info = ModuleInfo("silence")
    static let namespace: Namespace = "urn:example:silence"

    struct Options: ModuleOptions {
        var times: [String]
        init(from section: inout ConfigSection) {
            times = [
                section.string("first", default: "60", "Seconds."), section.string("second", default: "", "Seconds."),
            ]
        }
    }

    let options: Options
    init(_ options: Options, in host: HostContext) { self.options = options }

    func install(on host: inout HostBuilder) {
        for seconds in options.times.compactMap({ Int64($0) }) {
            host.idle(after: .seconds(seconds)) { session in
                session.push(Element("silent", Self.namespace, ["for": String(seconds)]))
            }
        }
    }
}

/// Counts accounts that come and go, and looks whether they are complete.
struct CensusModule: Module {
    static let info = ModuleInfo("census")
    init(_ options: NoOptions, in host: HostContext) {}

    private final class Record {
        let owner: OwnerID
        init(_ owner: OwnerID) { self.owner = owner }
    }

    func install(on host: inout HostBuilder) {
        let (born, dead) = (host.counter("born", "Accounts made."), host.counter("dead", "Accounts removed."))
        host.loadAccount(Record.self) { _, owner throws(StorageError) in Moved(Record(owner)) }
        host.accountCreated.add { account in
            if let owner = account.owner, account.state[Record.self]?.owner == owner { born.value += 1 }
        }
        host.accountRemoved.add { account in
            if let owner = account.owner, account.state[Record.self]?.owner == owner, account.sessionCount == 0 {
                dead.value += 1
            }
        }
    }
}
