public import ModuleKit

/// XEP-0030: Service Discovery, for hosts, accounts and the domains of other modules. What it says comes from what is
/// installed, so it cannot say what does not run.
public struct DiscoModule: Module {
    public static let info = ModuleInfo("disco", [.xep(30, version: "2.5.0")])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        for target in [Target.host, .account] {
            host.feature(.discoInfo, at: [target])
            host.feature(.discoItems, at: [target])
        }
        host.identity(.init(category: "server", type: "im", name: "Martlet"), at: .host)
        host.identity(.init(category: "account", type: "registered"), at: .account)
        host.iq(.get, .discoInfo, "query", at: [.host], from: .anyone) { request throws(StanzaError) in
            try info(request, .host)
        }
        host.iq(.get, .discoItems, "query", at: [.host], from: .anyone) { request throws(StanzaError) in
            try items(request, .host)
        }
        // XEP-0030 §8: who may not see an account's presence learns nothing of it.
        host.iq(.get, .discoInfo, "query", at: [.account], from: .contacts) { request throws(StanzaError) in
            try info(request, .account)
        }
        host.iq(.get, .discoItems, "query", at: [.account], from: .contacts) { request throws(StanzaError) in
            try items(request, .account)
        }
    }

    private func found(_ request: IQRequest, _ target: Target) throws(StanzaError) -> DiscoInfo {
        guard request.payload.attribute("node") == nil, let domain = request.stanza.to?.domain,
            let info = request.kernel.disco(target, of: domain)
        else { throw .itemNotFound }
        return info
    }

    private func info(_ request: IQRequest, _ target: Target) throws(StanzaError) -> Element {
        let info = try found(request, target)
        var query = Element("query", .discoInfo)
        for identity in info.identities {
            var child = Element("identity", .discoInfo)
            child[attribute: "category"] = identity.category
            // XEP-0175 §5.
            let isAnonymous = identity.category == "account" && request.account?.isTemporary == true
            child[attribute: "type"] = isAnonymous ? "anonymous" : identity.type
            child[attribute: "name"] = identity.name
            query.append(child)
        }
        for feature in info.features.map(\.uri).sorted() {
            var child = Element("feature", .discoInfo)
            child[attribute: "var"] = feature
            query.append(child)
        }
        return query
    }

    private func items(_ request: IQRequest, _ target: Target) throws(StanzaError) -> Element {
        let info = try found(request, target)
        var query = Element("query", .discoItems)
        // An account tells its own sessions which of its resources are there (XEP-0030 §8).
        request.account?.forEachSession { session in
            if session.isAvailable { query.append(item(session.address.description, nil)) }
        }
        for entry in info.items { query.append(item(entry.address, entry.name)) }
        return query
    }

    private func item(_ address: String, _ name: String?) -> Element {
        var item = Element("item", .discoItems)
        item[attribute: "jid"] = address
        item[attribute: "name"] = name
        return item
    }
}
