import ModuleKit

/// Requests that the server answers itself (RFC 6120 §8.2.3).
extension Shard {
    /// - Parameter account: whose bare address was asked; nil for a host or a domain.
    func request(_ envelope: Envelope, _ table: IQTable, at target: Target, account: LocalAccount?) {
        let stanza = envelope.stanza
        // An answer nobody asked for, or one to a request that has timed out.
        guard stanza.isRequest, let from = stanza.from else { return }
        guard let payload = stanza.payload else { return bounce(envelope, .badRequest) }
        guard let route = table.route(stanza.type == .get ? .get : .set, payload, at: target) else {
            return bounce(envelope, .serviceUnavailable)
        }
        guard mayAsk(route.asker, from, account) else {
            // Of an account, a stranger gets the answer that he would get if there were none.
            return bounce(envelope, account == nil ? .forbidden : .serviceUnavailable)
        }
        let session = ownSession(from)
        let request = IQRequest(stanza: stanza, payload: payload, kernel: self, account: account, session: session)
        do {
            switch route.handler {
            case .now(let handler):
                let result = try handler(request)
                answer(envelope, result)
            case .later(let order, let handler):
                let responder = responder(for: envelope, holding: order == .inOrder ? session : nil)
                do {
                    try handler(request, responder)
                } catch {
                    responder.answer(.failure(error))
                }
            }
        } catch {
            bounce(envelope, error)
        }
    }

    private func answer(_ envelope: Envelope, _ result: Element?) {
        route(Envelope(envelope.stanza.reply(result: result)))
    }

    private func responder(for envelope: Envelope, holding session: ClientSession?) -> IQResponder {
        session?.hold()
        let (loop, held, link) = (loop, session?.ref, link)
        return IQResponder { result in
            // The envelope, and with it the sender's receipt, is held until the answer is on its way.
            loop.post(
                .work {
                    guard let shard = link.shard else { return }
                    switch result {
                    case .success(let element): shard.answer(envelope, element)
                    case .failure(let error): shard.bounce(envelope, error)
                    }
                    if let held { shard.sessions[held.id]?.release() }
                })
        }
    }

    private func mayAsk(_ asker: IQRoute.Asker, _ from: JID, _ account: LocalAccount?) -> Bool {
        switch asker {
        case .anyone: true
        case .ownAccount: account == nil ? world.hosts[from.domain] != nil : from.bare == account?.address
        case .contacts:
            account.map { account in
                from.bare == account.address
                    || account.table?.contacts?.isSubscriber(from.bare, to: account) == true
            } ?? false
        // No config names administrators yet, so nobody is one.
        case .admin: false
        }
    }

    private func ownSession(_ address: JID) -> ClientSession? {
        guard !address.resource.isEmpty, let account = accounts[address.bare] else { return nil }
        return account.localSession(address.resource)
    }
}
