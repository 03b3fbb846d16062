import ModuleKit

/// Requests that modules answer before authentication.
extension ClientNegotiation {
    /// Answers by the rules of RFC 6120 §8.2.3: exactly one payload and an id, and one answer. Only the host can be asked
    /// on such a stream; of every other address, account or none, the answer is that it is not available.
    func serve(_ element: XMLTree, at host: String, _ table: HostTable, on shard: Shard) {
        let stanza: Stanza
        do {
            stanza = try Stanza(element)
        } catch {
            if let rejection = Stanza.rejection(of: element, because: error) { say(rejection) }
            return goOn()
        }
        if let to = stanza.to, to != JID(BareJID(canonicalLocal: "", domain: host)) {
            send(stanza.reply(error: .serviceUnavailable))
            return goOn()
        }
        let type: IQRoute.RequestType = stanza.type == .get ? .get : .set
        guard let payload = stanza.payload, let route = table.streamRequests.route(type, payload) else {
            say(stanza.reply(error: .serviceUnavailable))
            return goOn()
        }
        let request = StreamRequest(
            payload: payload, host: host, peer: peer, kernel: shard, context: context)
        let (loop, negotiation) = (shard.loop, Confined(self))
        let responder = IQResponder { result in
            loop.post(
                .work {
                    switch result {
                    case .success(let payload): negotiation.value.say(stanza.reply(result: payload))
                    case .failure(let error): negotiation.value.say(stanza.reply(error: error))
                    }
                    negotiation.value.goOn()
                })
        }
        do {
            try route.handler(request, responder)
        } catch {
            responder.answer(.failure(error))
        }
    }

    /// The client has no address, and the answer comes from the host that its stream is for.
    private func say(_ stanza: Stanza) {
        guard let host else { return }
        send(stanza.with(from: JID(BareJID(canonicalLocal: "", domain: host)), to: nil))
    }
}
