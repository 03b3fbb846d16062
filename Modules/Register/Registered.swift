internal import ModuleKit

/// What an account that is logged in may do about itself (XEP-0077 §3.2 and §3.3).
struct Registered: Sendable {
    private let options: RegisterModule.Options
    private let changes: RateLimiter

    init(_ options: RegisterModule.Options, _ changes: RateLimiter) {
        self.options = options
        self.changes = changes
    }

    /// XEP-0077 §3.1: it is registered, under this name.
    func get(_ request: IQRequest) throws(StanzaError) -> Element? {
        let account = try asker(request)
        var query = Element("query", .register)
        query.append(Element("registered", .register))
        query.append(Element("username", .register, [:], account.local))
        query.append(Element("password", .register))
        return query
    }

    func set(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let account = try asker(request)
        if request.payload.first("remove", .register) != nil {
            try remove(account, request, responder)
        } else {
            try changePassword(of: account, request, responder)
        }
    }

    /// Only of this host: elsewhere it is not registered.
    private func asker(_ request: IQRequest) throws(StanzaError) -> BareJID {
        guard let from = request.stanza.from?.bare, from.domain == request.stanza.to?.domain, !from.local.isEmpty
        else { throw .registrationRequired }
        return from
    }

    /// XEP-0077 §3.2. The result comes first, then `not-authorized` ends all sessions.
    private func remove(_ account: BareJID, _ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        guard options.removes else { throw .notAllowed }
        guard request.payload.children.map({ $0 }).count == 1 else { throw .badRequest }
        request.kernel.accountService.remove(account) { result in
            responder.answer(result.map { nil }.mapError(StanzaError.init))
        }
    }

    /// XEP-0077 §3.3. The other sessions end, as the old password opened them.
    private func changePassword(
        of account: BareJID, _ request: IQRequest, _ responder: IQResponder
    ) throws(StanzaError) {
        let query = request.payload
        guard options.changesPasswords else { throw .notAllowed }
        guard let session = request.session else { throw .unexpectedRequest }
        // The password is in the request: nobody may have seen it.
        guard session.isSecure else { throw StanzaError(.notAuthorized, type: .modify) }
        guard let name = query.first("username", .register)?.text, !name.isEmpty,
            let password = query.first("password", .register)?.text, !password.isEmpty
        else { throw .badRequest }
        guard JID.prepared(local: name) == account.local else { throw .notAllowed.saying("not your own name") }
        try options.rules.check(password)
        guard changes.take(account.description, at: request.kernel.wallClock) else {
            throw .resourceConstraint.saying("too many new passwords; try again later")
        }
        request.kernel.accountService.setPassword(password, of: account, keeping: session.ref) { result in
            responder.answer(result.map { nil }.mapError(StanzaError.init))
        }
    }
}
