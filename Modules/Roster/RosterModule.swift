public import ModuleKit

/// RFC 6121 §2: the contact list, kept by the server. Also answers who may see whose presence.
public struct RosterModule: Module {
    public static let info = ModuleInfo(
        "roster", [.rfc(6121, missing: "roster versioning")], provides: [(any ContactService).self])

    public struct Options: ModuleOptions {
        var limit: Int

        public init(from section: inout ConfigSection) {
            limit = section.int("limit", default: 1000, in: 10...100_000, "Most contacts of one account.")
        }
    }

    static let store: StoreName = "roster"
    private static let mostGroups = 50
    /// Bytes of a name of a contact or group (RFC 6121 §2.3.3 leaves the number to the server).
    private static let longestName = 1023

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.roster)
        host.loadAccount(Roster.self) { snapshot, owner throws(StorageError) in
            let entries = try snapshot.entries(Self.store, owner)
            return Moved(Roster(entries.compactMap { RosterItem(contact: $0.key, stored: $0.value) }))
        }
        host.iq(.get, .roster, "query", at: [.account], from: .ownAccount) { request throws(StanzaError) in
            try get(request)
        }
        host.iq(.set, .roster, "query", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            try set(request, responder)
        }
        host.provide((any ContactService).self, Contacts(limit: options.limit))
    }

    /// RFC 6121 §2.1.3 and §2.2.
    private func get(_ request: IQRequest) throws(StanzaError) -> Element? {
        guard let roster = request.account?.state[Roster.self] else { throw .itemNotFound }
        guard !request.payload.children.contains(where: { _ in true }) else { throw .badRequest }
        if let session = request.session { _ = session.state.obtain(RosterInterest.self) { RosterInterest() } }
        var query = Element("query", .roster)
        for item in roster.items.values.filter({ !$0.isHidden }).sorted(by: {
            $0.contact.description < $1.contact.description
        }) {
            query.append(item.element)
        }
        return query
    }

    /// RFC 6121 §2.1.5, §2.3 to §2.5.
    private func set(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        guard let account = request.account, let roster = account.state[Roster.self] else { throw .itemNotFound }
        let items = request.payload.children.map { $0 }
        guard items.count == 1, let item = items.first, item.isNamed("item", .roster),
            let text = item.attribute("jid")
        else { throw .badRequest }
        guard let contact = JID(text), contact.isBare else { throw .jidMalformed }
        // RFC 6121 §2.3.3 and others: nobody is a contact of himself.
        guard contact.bare != account.address else { throw .notAllowed }
        if item.attribute("subscription") == "remove" {
            return try remove(contact.bare, roster, account, responder)
        }
        let isNew = roster.items[contact.bare]?.isHidden ?? true
        if isNew, roster.items.count >= options.limit { throw .resourceConstraint }
        var changed = roster.items[contact.bare] ?? RosterItem(contact.bare)
        changed.isHidden = false
        changed.name = item.attribute("name")
        changed.groups = try groups(of: item)
        guard (changed.name?.utf8.count ?? 0) <= Self.longestName else { throw .notAcceptable }
        RosterWriter.write(changed, in: roster, of: account) { result in
            responder.answer(result.map { nil })
        }
    }

    private func groups(of item: ElementView) throws(StanzaError) -> [String] {
        var groups: [String] = []
        for child in item.children {
            guard child.isNamed("group", .roster) else { continue }
            let name = child.text
            // RFC 6121 §2.3.3.
            guard !groups.contains(name) else { throw .badRequest }
            guard !name.isEmpty, name.utf8.count <= Self.longestName else { throw .notAcceptable }
            guard groups.count < Self.mostGroups else { throw .notAcceptable }
            groups.append(name)
        }
        return groups
    }

    /// RFC 6121 §2.5: both directions of the subscription end, as if the user had said so.
    private func remove(
        _ contact: BareJID, _ roster: Roster, _ account: any Account, _ responder: IQResponder
    ) throws(StanzaError) {
        guard let item = roster.items[contact], !item.isHidden else { throw .itemNotFound }
        RosterWriter.remove(item, in: roster, of: account) { result in
            if case .success = result {
                if item.subscription.hasTo || item.isAsking { send(.unsubscribe, to: contact, from: account) }
                if item.subscription.hasFrom || item.request != nil {
                    send(.unsubscribed, to: contact, from: account)
                    account.forEachSession { session in
                        guard session.isAvailable else { return }
                        var gone = Element("presence", .client)
                        gone[attribute: "type"] = "unavailable"
                        account.kernel.route(Envelope(Stanza(gone).with(from: session.address, to: JID(contact))))
                    }
                }
            }
            responder.answer(result.map { nil })
        }
    }

    private func send(_ type: Stanza.StanzaType, to contact: BareJID, from account: any Account) {
        var presence = Element("presence", .client)
        presence[attribute: "type"] = "\(type)"
        account.kernel.route(Envelope(Stanza(presence).with(from: JID(account.address), to: JID(contact))))
    }
}
