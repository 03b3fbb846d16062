public import ModuleKit

/// XEP-0049: elements that an account keeps for itself, one for each name in a namespace.
public struct PrivateModule: Module {
    public static let info = ModuleInfo("private", [.xep(49, version: "1.2")])

    public struct Options: ModuleOptions {
        var limits: PrivateStore.Limits

        public init(from section: inout ConfigSection) {
            limits = PrivateStore.Limits(
                elements: section.int("elements", default: 200, in: 1...10_000, "Most elements of one account."),
                element: section.bytes(
                    "element", default: 64 << 10, in: 256...(4 << 20), "Most bytes of one of them."),
                bytes: section.bytes(
                    "bytes", default: 512 << 10, in: 1024...(64 << 20), "Most bytes of all elements of one account."))
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.privateStorage, at: [.host, .account])
        host.iqForAnybody(.get, .privateStorage, "query") { request, responder throws(StanzaError) in
            try get(request, responder)
        }
        let limits = options.limits
        host.iqForAnybody(.set, .privateStorage, "query") { request, responder throws(StanzaError) in
            try set(request, limits, responder)
        }
    }

    /// XEP-0049 §2.3: others are forbidden, whether there is the account or not.
    private func owner(_ request: IQRequest) throws(StanzaError) -> any Account {
        guard let account = request.account, account.exists, request.stanza.from?.bare == account.address
        else { throw .forbidden }
        return account
    }

    private func get(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let account = try owner(request)
        let wanted = request.payload.children.map(\.element)
        // XEP-0049 §3: a get without a child is a bad request, one for two namespaces is not allowed.
        guard let first = wanted.first, wanted.allSatisfy({ $0.namespace == first.namespace }),
            Set(wanted.map(\.name)).count == wanted.count
        else { throw .badRequest }
        try check(first.namespace)
        PrivateStore.get(wanted, of: account, responder)
    }

    private func set(
        _ request: IQRequest, _ limits: PrivateStore.Limits, _ responder: IQResponder
    ) throws(StanzaError) {
        let account = try owner(request)
        guard !account.isTemporary else { throw .notAllowed }
        let elements = request.payload.children.map(\.element)
        // XEP-0049 §2.3.
        guard let first = elements.first else { throw .notAcceptable.saying("nothing to keep") }
        guard elements.allSatisfy({ $0.namespace == first.namespace }),
            Set(elements.map(\.name)).count == elements.count
        else { throw .badRequest }
        try check(first.namespace)
        PrivateStore.of(account).set(
            elements, bytes: request.stanza.byteCount, limits, account, responder)
    }

    /// XEP-0049 §3: reserved namespaces belong to protocols, not to clients; and none is no namespace of one's own.
    private func check(_ namespace: String) throws(StanzaError) {
        let isReserved =
            namespace.isEmpty || namespace == Namespace.vcard.uri
            || ["jabber:", "http://jabber.org/"].contains { namespace.utf8.starts(with: $0.utf8) }
        if isReserved { throw .notAcceptable.saying("the namespace is reserved") }
    }
}
