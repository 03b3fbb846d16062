public import ModuleKit

/// XEP-0030: Service Discovery, for hosts, accounts and the domains of other modules. What it says comes from what is
/// installed, so it cannot say what does not run.
public struct DiscoModule: Module {
    public static let info = ModuleInfo(
        "disco", [.xep(30, version: "2.5.0"), .xep(128, version: "1.0.1"), .xep(157, version: "1.1.1")])

    public struct Options: ModuleOptions {
        var name: String
        var contacts: ContactAddresses

        public init(from section: inout ConfigSection) {
            name = section.string("name", default: Build.name, "What the server calls itself.")
            var addresses = section.section("contacts", "Whom people can turn to (XEP-0157), as URIs.")
            contacts = ContactAddresses(from: &addresses)
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        for target in [Target.host, .account] {
            host.feature(.discoInfo, at: [target])
            host.feature(.discoItems, at: [target])
        }
        host.identity(.init(category: "server", type: "im", name: options.name), at: .host)
        host.identity(.init(category: "account", type: "registered"), at: .account)
        if let form = options.contacts.form { host.discoForm(form) }
        let contacts = host.find((any ContactService).self)
        for (subject, namespace) in [(DiscoQuery.Subject.info, Namespace.discoInfo), (.items, .discoItems)] {
            host.iq(.get, namespace, "query", at: [.host, .domain], from: .anyone, answering: .inOrder) {
                request, responder throws(StanzaError) in
                try answer(DiscoQuery(subject, of: request, responder), .host)
            }
            host.iqForAnybody(.get, namespace, "query") { request, responder throws(StanzaError) in
                let query = DiscoQuery(subject, of: request, responder)
                if let node = node(of: query, .account) { return node.handler(query) }
                guard isTrusted(request, contacts) else { return try refuse(query) }
                try answer(query, .account)
            }
        }
    }

    /// XEP-0030 §8: the account itself, and who may see its presence.
    private func isTrusted(_ request: IQRequest, _ contacts: (any ContactService)?) -> Bool {
        guard let account = request.account, account.exists, let from = request.stanza.from?.bare else { return false }
        return from == account.address || contacts?.isSubscriber(from, to: account) == true
    }

    /// XEP-0030 §8: others learn nothing, not even whether there is such an account.
    private func refuse(_ query: DiscoQuery) throws(StanzaError) {
        guard query.subject == .items else { throw .serviceUnavailable }
        query.answer(.success(DiscoInfo()))
    }

    /// The node that is asked about, if a module has it.
    private func node(of query: DiscoQuery, _ target: Target) -> DiscoNode? {
        guard let name = query.node, let domain = query.request.stanza.to?.domain else { return nil }
        return query.request.kernel.discoNode(name, at: target, of: domain)
    }

    private func answer(_ query: DiscoQuery, _ target: Target) throws(StanzaError) {
        let request = query.request
        if let node = node(of: query, target) { return node.handler(query) }
        guard query.node == nil, let domain = request.stanza.to?.domain,
            var info = request.kernel.disco(target, of: domain)
        else { throw .itemNotFound }
        // XEP-0175 §5.
        if request.account?.isTemporary == true {
            info.identities = info.identities.map { identity in
                identity.category == "account" ? .init(category: "account", type: "anonymous") : identity
            }
        }
        // An account tells which of its resources are there (XEP-0030 §4.1).
        request.account?.forEachSession { session in
            if session.isAvailable { info.items.append(.init(address: session.address.description)) }
        }
        query.answer(.success(info))
    }
}
