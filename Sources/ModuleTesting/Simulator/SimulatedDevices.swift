internal import ModuleKit
internal import XMPPCore

/// What several devices of one account know of one another in a simulation: copies of messages (XEP-0280), and clients
/// that want to be left alone (XEP-0352).
extension Simulation {
    func sayOfDevice(_ actor: Actor, _ name: String) {
        guard actor.client.phase == .ready else { return move() }
        switch random.below(6) {
        case 0: request("disable", actor, name)
        case 1, 2: request("enable", actor, name)
        case 3, 4:
            note("\(name) is inactive")
            actor.client.send(Element("inactive", .clientState))
        default:
            note("\(name) is active")
            actor.client.send(Element("active", .clientState))
        }
    }

    private func request(_ what: String, _ actor: Actor, _ name: String) {
        note("\(name) \(what)s copies")
        let request = Element("iq", .client, ["type": "set", "id": "copies"], Element(what, .carbons))
        actor.client.send(request)
    }
}

/// - **Copies.** A session gets a copy of a message at most once, only of what its own account sent or was sent, and,
///   if nothing has disturbed the account since, not beside the message itself. Nobody sends a copy back.
extension SimulationModel {
    func receivedCopy(_ copy: Element, by session: SimulatedSession) {
        for name in ["sent", "received"] {
            guard let inner = copy.first(name, .carbons)?.first("forwarded", .forwarded)?.first("message", .client),
                let message = messages[inner[attribute: "id"] ?? ""], inner[attribute: "type"] != "error"
            else { continue }
            if copy[attribute: "from"] != session.account.description {
                violate("a copy of \(message.id) came from \(copy[attribute: "from"] ?? "nobody")")
            }
            guard session.account == (name == "sent" ? message.sender.account : message.recipient) else {
                violate("a copy of \(message.id) went to \(session.account)")
                continue
            }
            if message.sender === session { violate("\(message.id) came back to its sender") }
            guard !message.isResent else { continue }
            if !session.copies.insert(message.id).inserted {
                violate("a copy of \(message.id) came twice to session \(session.number)")
            }
            checkCopy(message, in: session)
        }
    }

    func checkCopy(_ message: SimulatedMessage, in session: SimulatedSession) {
        guard session.copies.contains(message.id), session.account == message.recipient,
            message.deliveries.contains(where: { $0.session === session }), !message.isResent, !hasFaults,
            (lastDisturbance[message.recipient] ?? -1) < message.sentAt
        else { return }
        violate("session \(session.number) got \(message.id) and a copy of it, and nothing had happened")
    }
}
