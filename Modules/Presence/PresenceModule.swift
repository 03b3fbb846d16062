public import ModuleKit

/// RFC 6121 §3 and §4: who is there, and who may know. Contacts see each other come and go; strangers see nothing.
public struct PresenceModule: Module {
    public static let info = ModuleInfo(
        "presence", [.rfc(6121)], needs: [(any ContactService).self], provides: [(any PresenceService).self])

    public struct Options: ModuleOptions {
        var size: Int

        public init(from section: inout ConfigSection) {
            size = section.bytes(
                "size", default: 8 << 10, in: (1 << 10)...(256 << 10),
                "Most bytes of one presence. It is kept for as long as the client is there, and every contact that logs in "
                    + "is sent that of each client.")
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        guard let contacts = host.find((any ContactService).self) else { return }
        let size = options.size
        host.received.add(.admit, on: .presence, after: ["blocking", "privacy"]) { event in limit(&event, size) }
        let broadcast = PresenceBroadcast(contacts: contacts)
        let subscriptions = Subscriptions(contacts: contacts)
        host.received.add(.deliver, on: .presence) { event in
            let stanza = event.envelope.stanza
            switch stanza.type {
            case .available, .unavailable:
                guard let to = stanza.to else {
                    broadcast.announce(stanza, from: event.session)
                    return .handled
                }
                return directed(stanza, to, from: event.session)
            case .subscribe, .subscribed, .unsubscribe, .unsubscribed:
                return subscriptions.send(event.envelope, from: event.session)
            case .probe:
                return mayAsk(stanza.to, event.session, contacts) ? .next : .handled
            default: return stanza.to == nil ? .handled : .next
            }
        }
        host.arriving.add(.deliver, on: .presence) { event in
            switch event.envelope.stanza.type {
            case .probe: broadcast.answerProbe(event.envelope.stanza, for: event.account)
            case .subscribe, .subscribed, .unsubscribe, .unsubscribed:
                subscriptions.receive(event.envelope, for: event.account)
            default: broadcast.deliver(event.envelope, to: event.account)
            }
            return .handled
        }
        host.provide((any PresenceService).self, RuleChanges(contacts: contacts))
        host.accountRemoved.add { account in subscriptions.takeLeave(account) }
        host.closed.add { session in
            broadcast.leave(session)
        }
    }

    /// A presence that is too large is refused before anybody keeps it or hears it. Only `unavailable` goes on, without
    /// its content: no error answers it (RFC 6121 §4.5), and the client is not there any more.
    private func limit(_ event: inout Received, _ size: Int) -> Verdict {
        let stanza = event.envelope.stanza
        // The server's own measure is a little more than the bytes on the wire.
        guard stanza.byteCount > size + 512 else { return .next }
        switch stanza.type {
        case .unavailable:
            let gone = Stanza(Element("presence", .client, ["type": "unavailable", "id": stanza.id]))
            event.envelope = Envelope(gone.with(from: stanza.from, to: stanza.to), receipt: event.envelope.receipt)
            return .next
        case .probe, .error: return .handled
        default: return .reject(.policyViolation.saying("the presence is too large"))
        }
    }

    /// A client asks itself, which is the server's business and yet no mistake (RFC 6121 §4.3): it hears of a contact
    /// what the server would, and of a resource of a stranger whether that sent it presence (§4.6.6). Other questions
    /// have no answer: an account that is in memory would tell by it that it is.
    private func mayAsk(_ to: JID?, _ session: any Session, _ contacts: any ContactService) -> Bool {
        guard let to else { return false }
        let account = session.account
        return !to.isBare || to.bare == account.address || contacts.isSubscribed(account, to: to.bare)
    }

    /// RFC 6121 §4.6: who was sent presence directly hears of the end as well.
    private func directed(_ stanza: Stanza, _ to: JID, from session: any Session) -> Verdict {
        let directed = session.state.obtain(DirectedPresence.self) { DirectedPresence() }
        if stanza.type == .unavailable {
            directed.remove(to)
        } else if !directed.insert(to) {
            return .reject(.resourceConstraint)
        }
        return .next
    }
}

/// Whom a session has sent presence directly (RFC 6121 §4.6.1). One too many is refused: nobody may be left to believe
/// that the session is still there.
final class DirectedPresence {
    static let limit = 1000
    static let mostBytes = 64 << 10
    private(set) var addresses: Set<JID> = []
    private var bytes = 0

    /// False: it is one too many.
    func insert(_ address: JID) -> Bool {
        guard !addresses.contains(address) else { return true }
        let size = Self.size(address)
        guard addresses.count < Self.limit, bytes + size <= Self.mostBytes else { return false }
        addresses.insert(address)
        bytes += size
        return true
    }

    func remove(_ address: JID) {
        if addresses.remove(address) != nil { bytes -= Self.size(address) }
    }

    func reaches(_ address: JID) -> Bool {
        addresses.contains(address) || addresses.contains(JID(address.bare))
    }

    /// The contact was told of the end in another way.
    func forget(_ contact: BareJID) {
        for address in addresses where address.bare == contact { remove(address) }
    }

    private static func size(_ address: JID) -> Int {
        address.local.utf8.count + address.domain.utf8.count + address.resource.utf8.count
    }
}
