public import ModuleKit

/// XEP-0054: what accounts, and the server, tell the world of themselves.
public struct VCardModule: Module {
    public static let info = ModuleInfo("vcard", [.xep(54, version: "1.3.0")])

    public struct Options: ModuleOptions {
        var size: Int
        var host: HostCard

        public init(from section: inout ConfigSection) {
            size = section.bytes(
                "size", default: 256 << 10, in: 1024...(4 << 20), "Most bytes of one vCard, its picture included.")
            var card = section.section("host", "The server's own vCard.")
            host = HostCard(from: &card)
        }
    }

    private static let store: StoreName = "vcard"
    private static let key = "vcard"

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.vcard, at: [.host, .account])
        let card = options.host.element
        host.iq(.get, .vcard, "vCard", at: [.host], from: .anyone) { _ in card }
        host.iq(.set, .vcard, "vCard", at: [.host], from: .anyone) { _ throws(StanzaError) -> Element? in
            throw .notAllowed
        }
        host.iqForAnybody(.get, .vcard, "vCard") { request, responder throws(StanzaError) in
            try get(request, responder)
        }
        let size = options.size
        host.iqForAnybody(.set, .vcard, "vCard") { request, responder throws(StanzaError) in
            try set(request, size, responder)
        }
    }

    private func get(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        guard let account = request.account else { throw .serviceUnavailable }
        // XEP-0054 §3.1 and §3.3: oneself hears that there is none, others hear what they hear of no account at all.
        let isOwn = request.stanza.from?.bare == account.address
        let none: StanzaError = isOwn ? .itemNotFound : .serviceUnavailable
        // Nobody's is looked for as well, and takes as long not to be found.
        let owner = account.owner ?? .nobody
        account.kernel.storage.read([owner]) { snapshot throws(StorageError) in
            try snapshot.value(Self.store, owner, key: Self.key)
        } then: { result in
            switch result {
            case .success(let bytes?):
                let tree = try? XMLTree(parsing: String(decoding: bytes, as: UTF8.self))
                responder.answer(tree.map { .success($0.root.element) } ?? .failure(.internalServerError))
            case .success(nil): responder.answer(.failure(none))
            case .failure: responder.answer(.failure(.resourceConstraint))
            }
        }
    }

    /// The whole vCard at once (XEP-0054 §3.2); one that says nothing is one as well. Others are forbidden to, whether
    /// there is the account or not: nobody finds out which names there are.
    private func set(_ request: IQRequest, _ size: Int, _ responder: IQResponder) throws(StanzaError) {
        guard let account = request.account, account.exists, request.stanza.from?.bare == account.address
        else { throw .forbidden }
        guard let owner = account.owner else { throw .notAllowed }
        let value = Array(request.payload.element.description.utf8)
        guard value.count <= size else { throw .policyViolation.saying("the vCard is too large") }
        account.kernel.storage.submit([.put(Self.store, owner, key: Self.key, value: value)]) { result in
            responder.answer(result.map { _ in nil }.mapError { _ in .resourceConstraint })
        }
    }
}
