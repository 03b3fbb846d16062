public import ModuleKit

/// RFC 6121 §3 and §4: who is there, and who may know. Contacts see each other come and go; strangers see nothing.
public struct PresenceModule: Module {
    public static let info = ModuleInfo(
        "presence", [.rfc(6121)], needs: [(any ContactService).self])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        guard let contacts = host.find((any ContactService).self) else { return }
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
        host.accountRemoved.add { account in subscriptions.takeLeave(account) }
        host.closed.add { session in
            broadcast.leave(session)
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
            directed.addresses.remove(to)
        } else if directed.addresses.count < DirectedPresence.limit || directed.addresses.contains(to) {
            directed.addresses.insert(to)
        } else {
            return .reject(.resourceConstraint)
        }
        return .next
    }
}

/// Whom a session has sent presence directly (RFC 6121 §4.6.1). One too many is refused: nobody may be left to believe
/// that the session is still there.
final class DirectedPresence {
    static let limit = 1000
    var addresses: Set<JID> = []

    func reaches(_ address: JID) -> Bool {
        addresses.contains(address) || addresses.contains(JID(address.bare))
    }

    /// The contact was told of the end in another way.
    func forget(_ contact: BareJID) {
        addresses = addresses.filter { $0.bare != contact }
    }
}
