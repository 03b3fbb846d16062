public import ModuleKit

/// XEP-0016: lists of rules that say who reaches an account, one for the account and one of its choice for each session.
///
/// This module shows and changes the lists; they are obeyed elsewhere (`HostBuilder.keepRules`).
public struct PrivacyModule: Module {
    public static let info = ModuleInfo(
        "privacy",
        [
            .xep(
                16, version: "1.7",
                missing: "Who is refused by a change of the roster alone keeps the last presence that was seen.")
        ])

    public struct Options: ModuleOptions {
        var limits: ListLimits

        public init(from section: inout ConfigSection) {
            limits = ListLimits(
                lists: section.int("lists", default: 20, in: 1...1000, "Most privacy lists of one account."),
                items: section.int("items", default: 1000, in: 10...100_000, "Most items of one list."),
                bytes: section.bytes(
                    "bytes", default: 256 << 10, in: (4 << 10)...(16 << 20),
                    "Most bytes of one account's blocklist and privacy lists together."))
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.privacy)
        let keeper = host.keepRules()
        keeper.watch { change in push(change) }
        host.iq(.get, .privacy, "query", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            try get(request, responder)
        }
        let limits = options.limits
        host.iq(.set, .privacy, "query", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            let wanted = try ListRequest(request.payload, isSet: true)
            guard let account = request.account, let session = request.session else { throw .serviceUnavailable }
            if case .activate(let name) = wanted {
                try keeper.activate(name, for: session)
                return responder.answer(.success(nil))
            }
            let change = ListChange(wanted, by: session, limits, keeper.contacts)
            keeper.change(account) { book throws(StanzaError) in
                try change.edit(book)
            } then: { result in
                responder.answer(result.map { nil })
            }
        }
    }

    /// XEP-0016 §2.3.
    private func get(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let wanted = try ListRequest(request.payload, isSet: false)
        let book = request.account?.state[RuleBook.self]
        guard case .list(let name) = wanted else { return responder.answer(.success(names(book, request.session))) }
        guard let table = book?.lists[name] else { throw .itemNotFound }
        request.atPace(bytes: table.byteCount) {
            var list = Element("list", .privacy, ["name": name.string])
            for item in table.items { list.append(item.element) }
            responder.answer(.success(Element("query", .privacy, [:], list)))
        }
    }

    private func names(_ book: RuleBook?, _ session: (any Session)?) -> Element {
        var query = Element("query", .privacy)
        func add(_ element: String, _ name: ExactString) {
            query.append(Element(element, .privacy, ["name": name.string]))
        }
        if let active = session?.state[ActiveList.self] { add("active", active.name) }
        if let name = book?.defaultName { add("default", name) }
        for name in book?.lists.keys.sorted() ?? [] { add("list", name) }
        return query
    }

    /// XEP-0016 §2.2: every connected client is told which list has changed.
    private func push(_ change: RuleChange) {
        for name in change.edit.lists.keys.sorted() {
            let query = Element("query", .privacy, [:], Element("list", .privacy, ["name": name.string]))
            change.account.forEachSession { $0.push(query) }
        }
    }
}
