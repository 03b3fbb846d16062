internal import ModuleKit

/// The bulk for a session that becomes available (RFC 6121 §4.2.2, §3.1.3): the presences of the account's other
/// sessions, probes to its contacts, then the requests for a subscription. In portions, for there may be a thousand
/// contacts and the client may read slowly.
final class LoginBurst {
    private static let portion = 25

    private enum Stage {
        /// The resources that are left.
        case sessions([String])
        /// The last contact that was asked, the last request that was shown.
        case contacts(after: BareJID?)
        case requests(after: BareJID?)
    }

    private let contacts: any ContactService
    private let probe: Stanza
    private var stage: Stage

    private init(_ contacts: any ContactService, of session: any Session) {
        self.contacts = contacts
        var element = Element("presence", .client)
        element[attribute: "type"] = "probe"
        probe = Stanza(element)
        var resources: [String] = []
        session.account.forEachSession { if $0 !== session, $0.isAvailable { resources.append($0.address.resource) } }
        stage = .sessions(resources)
    }

    static func begin(_ session: any Session, _ contacts: any ContactService) {
        let burst = LoginBurst(contacts, of: session)
        // Mostly one portion is all there is, told in the turn of the presence.
        guard burst.sendPortion(to: session) else { return }
        session.state[LoginBurst.self] = burst
        session.paced { burst.next(session) }
    }

    /// The session is not available any more: the rest is not sent.
    static func end(_ session: any Session) {
        session.state[LoginBurst.self] = nil
    }

    /// False: that was all, or there is no use in more.
    private func next(_ session: any Session) -> Bool {
        guard session.state[LoginBurst.self] === self else { return false }
        if sendPortion(to: session) { return true }
        Self.end(session)
        return false
    }

    /// Sends a portion, of as many stages as it has room for; false: that was all.
    private func sendPortion(to session: any Session) -> Bool {
        var room = Self.portion
        while room > 0 {
            let count = send(room, to: session)
            guard let following = count < room ? nextStage : stage else { return false }
            stage = following
            room -= count
        }
        return true
    }

    private var nextStage: Stage? {
        switch stage {
        case .sessions: .contacts(after: nil)
        case .contacts: .requests(after: nil)
        case .requests: nil
        }
    }

    /// How many of the stage there were to be sent; less than there was room for: it is over.
    private func send(_ room: Int, to session: any Session) -> Int {
        let account = session.account
        switch stage {
        case .sessions(let resources):
            for resource in resources.prefix(room) {
                guard let other = account.session(resource), let presence = other.presence else { continue }
                session.send(Envelope(presence.with(from: other.address, to: session.address)))
            }
            stage = .sessions(Array(resources.dropFirst(room)))
            return min(room, resources.count)
        case .contacts(let last):
            let portion = contacts.subscriptions(of: account, after: last, most: room)
            let rules = account.rules(for: session)
            for contact in portion where rules?.hides(contact) != true {
                // From the full address, so that the answer need not go to every session.
                account.kernel.route(Envelope(probe.with(from: session.address, to: JID(contact))))
            }
            stage = .contacts(after: portion.last ?? last)
            return portion.count
        case .requests(let last):
            let portion = contacts.pendingRequests(of: account, after: last, most: room)
            for request in portion { session.send(Envelope(request.1)) }
            stage = .requests(after: portion.last?.from ?? last)
            return portion.count
        }
    }
}
