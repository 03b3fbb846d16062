internal import XMPPCore

/// What is known of one message of a simulation.
final class SimulatedMessage {
    let id: String
    /// Ascending within a pair of sending session and address.
    let number: Int
    let sender: SimulatedSession
    let to: String
    let recipient: BareJID
    let sentAt: Int
    /// The server began to read it.
    var isAccepted = false
    /// Its sender has sent it once more, not knowing better.
    var isResent = false
    var isBounced = false
    /// Its sender knows that it is not safe.
    var isStillKept = false
    /// It was safe when the account that it was for was removed: nobody may see it any more.
    var isGone = false
    /// On the wire of a connection without stream management when that was cut.
    var isLostInFlight = false
    var deliveries: [SimulatedDelivery] = []

    init(_ id: String, number: Int, from sender: SimulatedSession, to: String, recipient: BareJID, at step: Int) {
        self.id = id
        self.number = number
        self.sender = sender
        self.to = to
        self.recipient = recipient
        sentAt = step
    }

}

/// A message as a client got it.
struct SimulatedDelivery {
    let session: SimulatedSession
    /// Which of the session's stanzas; `.max`: no count covers it.
    let index: UInt32
    let step: Int
}

/// One session of a client, over all connections that resumed it.
final class SimulatedSession {
    let number: Int
    let account: BareJID
    let isManaged: Bool
    /// How many stanzas the server knows the client to have.
    var acknowledged: UInt32 = 0
    /// The client does not have it any more.
    var isLost = false
    /// When its client began to log in.
    var beganAt: Int
    /// Its connection was lost at least once.
    var wasCut = false
    /// The client has ended its stream: whether it reads what still comes, nobody knows.
    var hasSaidGoodbye = false
    /// The highest number seen of each pair.
    var latest: [String: Int] = [:]
    var latestUndelayed: [String: Int] = [:]
    /// Messages that it got a copy of.
    var copies: Set<String> = []

    var mayBeGone: Bool { isLost || wasCut || hasSaidGoodbye }

    init(_ number: Int, of account: BareJID, isManaged: Bool, at step: Int) {
        self.number = number
        beganAt = step
        self.account = account
        self.isManaged = isManaged
    }
}

/// The small model that a simulation is compared with.
///
/// - **Loss.** A message whose bytes the server began to read is delivered to a client of its recipient, or comes back
///   to its sender as an error. Exceptions: its sender was never told that it is safe and has it still; it was on the
///   wire of a connection without stream management when that
///   was cut (nobody can know); its sender had no stream management, so nobody was owed anything, and it was still in
///   the server's buffer for such a connection; a failed commit was answered to a sender whose session may have been gone.
/// - **Duplicates.** A session gets a message once, over all its connections. Sessions that are there together may all
///   get a copy. To a session that came later it may come again, with a delay stamp, only if every session that had it
///   before has stream management and had not acknowledged it to the server, or lost its connection without stream
///   management. A message that its sender has sent again in another session counts as another; after a resumption it
///   does not.
/// - **Order.** Within one session, messages of one sending session to one address come in their order if they bear no
///   delay stamp. With delayed ones among them that holds, too, if since the message was sent no session of the recipient
///   ended or lost its connection, or got its own past what waits for the account: what was in such a session's queue
///   comes late, and says so.
/// - **Ends.** What was sent to an account until it was removed may have gone with it, and what was safe by then is seen
///   by nobody any more.
/// - **Restores.** Nothing is known of what was sent before a backup was put back.
/// - **Honesty.** Nothing is bounced in a run whose storage works and in which accounts, modules and hosts stay; nothing is bounced that a session is known to have;
///   the server never acknowledges more than it was sent.
final class SimulationModel {
    private(set) var messages: [String: SimulatedMessage] = [:]
    private(set) var violations: [String] = []
    /// The last step at which a session of the account ended or lost its connection.
    var lastDisturbance: [BareJID: Int] = [:]
    /// The last step at which the server let a connection without stream management go.
    var lastPlainEnd: [BareJID: Int] = [:]
    /// The last step at which the account was removed; what had been sent to it went with it.
    var lastRemoval: [BareJID: Int] = [:]
    /// When everybody has heard of it; `.max`: it is under way.
    private var removalEnds: [BareJID: Int] = [:]
    /// The last step at which the host was taken out, and with it what was known of its accounts: that a message whose
    /// row could not be deleted has been delivered.
    var lastHostEnd = -1
    let hasFaults: Bool
    /// Modules, hosts or accounts went.
    var isUnsettled = false
    var deliveries = 0

    init(hasFaults: Bool) {
        self.hasFaults = hasFaults
    }

    /// The server is as it was some time ago. What was sent until now may come again, or not at all.
    func restored() {
        messages = [:]
        removalEnds = [:]
    }

    func violate(_ rule: String) {
        violations.append(rule)
    }

    func sent(_ message: SimulatedMessage) {
        messages[message.id] = message
    }

    func lostInFlight(_ element: Element) {
        guard let message = messages[element[attribute: "id"] ?? ""] else { return }
        if element[attribute: "type"] == "error" { message.isBounced = true } else { message.isLostInFlight = true }
    }

    func received(_ element: Element, by session: SimulatedSession, index: UInt32, at step: Int) {
        if element.name == "message" { receivedCopy(element, by: session) }
        guard element.name == "message", let id = element[attribute: "id"], let message = messages[id] else { return }
        if element[attribute: "type"] == "error" {
            message.isBounced = true
            if !hasFaults, !isUnsettled { violate("\(id) was bounced: \(element)") }
            let sure = message.deliveries.contains { !mayNotKnow($0) }
            if sure, !message.isResent, !wasRemoved(message) {
                violate("\(id) was bounced after it was delivered for sure")
            }
            return
        }
        deliveries += 1
        if message.isGone, !message.isResent, session.beganAt > lastRemoval[session.account] ?? .max {
            violate("\(id) came to session \(session.number) of the next owner")
        }
        let isDelayed = element.first("delay", .delay) != nil
        if session.account != message.recipient { violate("\(id) for \(message.to) went to \(session.account)") }
        if !message.isResent {
            let delivery = SimulatedDelivery(session: session, index: index, step: step)
            if message.isBounced, !mayNotKnow(delivery), !wasRemoved(message) {
                violate("\(id) was delivered after it was bounced")
            }
            checkDuplicate(message, in: session, isDelayed: isDelayed)
            checkOrder(message, in: session, isDelayed: isDelayed)
        }
        message.deliveries.append(SimulatedDelivery(session: session, index: index, step: step))
        checkCopy(message, in: session)
    }

    /// Its account was removed since: what was on the wire to it then, nobody knows.
    private func wasRemoved(_ message: SimulatedMessage) -> Bool {
        message.sentAt <= removalEnds[message.recipient] ?? -1
    }

    private func checkDuplicate(_ message: SimulatedMessage, in session: SimulatedSession, isDelayed: Bool) {
        for earlier in message.deliveries {
            if earlier.session === session {
                violate("\(message.id) came twice to session \(session.number)")
            } else if isDelayed, !mayNotKnow(earlier), session.beganAt > earlier.step {
                if hasFaults, earlier.step <= lastHostEnd { continue }
                let kind = "\(earlier.session.isManaged ? "managed" : "plain") session \(earlier.session.number)"
                violate("\(message.id) came to session \(session.number) though \(kind) had it for sure")
            }
        }
    }

    /// The server cannot know that the client has it.
    private func mayNotKnow(_ delivery: SimulatedDelivery) -> Bool {
        let session = delivery.session
        if delivery.index == .max { return true }
        return session.isManaged ? session.acknowledged < delivery.index : session.wasCut
    }

    private func checkOrder(_ message: SimulatedMessage, in session: SimulatedSession, isDelayed: Bool) {
        let pair = "\(message.sender.number) \(message.to)"
        if !isDelayed {
            if let latest = session.latestUndelayed[pair], message.number < latest {
                violate("\(message.id) came to session \(session.number) after number \(latest)")
            }
            session.latestUndelayed[pair] = message.number
        }
        let isUndisturbed = (lastDisturbance[message.recipient] ?? -1) < message.sentAt
        if let latest = session.latest[pair], message.number < latest, isUndisturbed {
            violate("\(message.id) came to session \(session.number) after number \(latest), and nothing had happened")
        }
        session.latest[pair] = max(session.latest[pair] ?? 0, message.number)
    }

    func removing(_ account: BareJID) {
        removalEnds[account] = .max
    }

    /// The removal has failed.
    func stays(_ account: BareJID) {
        removalEnds[account] = nil
    }

    /// - Parameters:
    ///   - start: when the removal began.
    ///   - unsafe: messages that senders had not been told to be safe then.
    func removed(_ account: BareJID, at step: Int, begun start: Int, unsafe: Set<String>) {
        lastRemoval[account] = step
        // The loop of the account hears of it a little later.
        removalEnds[account] = step + 40
        for message in messages.values where message.recipient == account && message.sender.isManaged {
            if message.isAccepted, message.sentAt < start, !unsafe.contains(message.id), !message.isResent {
                message.isGone = true
            }
        }
    }

    func stillKept(by client: TestClient) {
        for element in client.unacknowledged { messages[element[attribute: "id"] ?? ""]?.isStillKept = true }
    }

    /// At the end, when everybody has got everything.
    func checkLosses() {
        for message in messages.values.sorted(by: { $0.id < $1.id }) {
            guard message.isAccepted, message.deliveries.isEmpty, !message.isBounced, !message.isLostInFlight,
                !message.isStillKept
            else {
                continue
            }
            if hasFaults || isUnsettled, message.sender.mayBeGone { continue }
            if wasRemoved(message) { continue }
            if !message.sender.isManaged, lastPlainEnd[message.recipient] ?? -1 >= message.sentAt { continue }
            violate("\(message.id) for \(message.to) was lost")
        }
    }
}
