public import ModuleKit

/// RFC 6121 §2: the contact list, kept by the server. Also answers who may see whose presence.
public struct RosterModule: Module {
    public static let info = ModuleInfo("roster", [.rfc(6121)], provides: [(any ContactService).self])

    public struct Options: ModuleOptions {
        var limits: RosterLimits

        public init(from section: inout ConfigSection) {
            limits = RosterLimits(
                items: section.int("limit", default: 1000, in: 10...100_000, "Most contacts of one account."),
                bytes: section.bytes(
                    "bytes", default: 256 << 10, in: (4 << 10)...(16 << 20),
                    "Most bytes of them all: addresses, names and groups. The whole is sent to each client that asks."),
                requests: section.int(
                    "requests", default: 100, in: 1...10_000,
                    "Most requests of others to see the account's presence that wait for an answer."),
                groups: section.int("groups", default: 20, in: 1...1000, "Most groups of one contact."),
                name: section.bytes(
                    "name", default: 1023, in: 16...8192, "Most bytes of the name of a contact or of a group."))
        }
    }

    static let store: StoreName = "roster"

    private let options: Options
    private let epoch: StorageEpoch

    public init(_ options: Options, in host: HostContext) {
        self.options = options
        epoch = host.storage.epoch
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.roster)
        // RFC 6121 §2.6.1 and §3.4.
        host.streamFeature(Element("ver", .rosterVersioning))
        host.streamFeature(Element("sub", .preApproval))
        let epoch = epoch
        host.loadAccount(Roster.self) { snapshot, owner throws(StorageError) in
            Moved(Roster(of: owner, in: epoch, rows: try snapshot.entries(Self.store, owner)))
        }
        // The rules have an answer that reaches the client whatever they say.
        host.received.add(.admit, on: .iq.of(.get, .set).with(.roster), after: ["blocking", "privacy"]) { event in
            mayAsk(event.envelope.stanza, event.session.address.bare)
        }
        host.iq(.get, .roster, "query", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            try get(request, responder)
        }
        let limits = options.limits
        host.iq(.set, .roster, "query", at: [.account], from: .ownAccount, answering: .inOrder) {
            request, responder throws(StanzaError) in
            guard request.account?.isTemporary != true else { throw .notAllowed }
            guard let account = request.account, let roster = account.state[Roster.self] else { throw .itemNotFound }
            let edit = try RosterEdit(request.payload, by: account.address, limits)
            edit.begin(roster, account, responder, limits)
        }
        host.provide((any ContactService).self, Contacts(limits: limits))
    }

    /// RFC 6121 §2.3.3: nobody reads or changes the roster of somebody else. Said before it can matter whether there is
    /// such an account. A full address is a client's: the client answers, under the address of the one that asks, and
    /// where it is not there the server does (§8.5.3).
    private func mayAsk(_ stanza: Stanza, _ own: BareJID) -> Verdict {
        guard let to = stanza.to, to.isBare, to.domain == own.domain, !to.local.isEmpty, to.bare != own,
            stanza.payload?.namespace == .roster
        else { return .next }
        return .reject(.forbidden)
    }

    /// RFC 6121 §2.1.3, §2.2 and §2.6.
    private func get(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        // An anonymous account has no contacts; clients ask all the same, and some end when they are refused.
        if request.account?.isTemporary == true { return responder.answer(.success(Element("query", .roster))) }
        guard let roster = request.account?.state[Roster.self] else { throw .itemNotFound }
        guard request.payload.firstElement == nil else { throw .badRequest }
        request.atPace(bytes: roster.extent.bytes) { answer(request, roster, responder) }
    }

    private func answer(_ request: IQRequest, _ roster: Roster, _ responder: IQResponder) {
        if let session = request.session { _ = session.state.obtain(RosterInterest.self) { RosterInterest() } }
        let items = roster.items
        if let session = request.session, let version = request.payload.attribute("ver"),
            let number = roster.versions.number(of: version)
        {
            let missed = items.filter { $0.revision > number }
            // Whatever is shorter: what the client missed, or everything.
            if missed.count * 2 <= roster.count || missed.isEmpty {
                responder.answer(.success(nil))
                return catchUp(session, missed, roster)
            }
        }
        var query = Element("query", .roster)
        query[attribute: "ver"] = roster.versions.text
        for item in items where !item.isHidden { query.append(item.element) }
        responder.answer(.success(query))
    }

    /// Behind the empty result, one push for each item, oldest change first (RFC 6121 §2.6.3); as the client reads them.
    private func catchUp(_ session: any Session, _ missed: [RosterItem], _ roster: Roster) {
        guard !missed.isEmpty else { return }
        let contacts = missed.sorted { $0.revision < $1.revision }.map(\.contact)
        let (last, home, ref, address) = (roster.versions.last, session.kernel.home, session.ref, session.address)
        home.perform { kernel in
            kernel.withResident(address.bare) { account in
                guard let session = account.session(address.resource), session.ref == ref,
                    let roster = account.state[Roster.self]
                else { return }
                var rest = contacts[...]
                session.paced {
                    for contact in rest.prefix(25) {
                        // A later change has been pushed by itself.
                        guard let item = roster[contact], item.revision <= last else { continue }
                        session.push(RosterWriter.pushed(item, version: roster.versions.text(of: item.revision)))
                    }
                    rest = rest.dropFirst(25)
                    return !rest.isEmpty
                }
            }
        }
    }
}
