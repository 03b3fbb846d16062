internal import ModuleKit

/// What an account that is logged in may do about itself (XEP-0077 §3.2 and §3.3).
struct Registered: Sendable {
    private let options: RegisterModule.Options
    /// Changes of passwords, by account: each costs as much as making one.
    private let changes: RateLimiter

    init(_ options: RegisterModule.Options, _ changes: RateLimiter) {
        self.options = options
        self.changes = changes
    }

    /// XEP-0077 §3.1: it is registered, under this name.
    func get(_ request: IQRequest) throws(StanzaError) -> Element? {
        // Accounts are made before a login, and nobody makes one here for a session that has another or none.
        guard let account = asker(request) else { throw .serviceUnavailable }
        var query = Element("query", .register)
        query.append(Element("registered", .register))
        let text = options.changesPasswords ? "Choose a new password." : "You have an account."
        query.append(Element("instructions", .register, [:], text))
        query.append(Element("username", .register, [:], account.local))
        query.append(Element("password", .register))
        return query
    }

    func set(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        guard let account = asker(request) else { throw .registrationRequired }
        if request.payload.first("remove", .register) != nil {
            try remove(account, request, responder)
        } else {
            try changePassword(of: account, request, responder)
        }
    }

    /// Nil: not registered. Elsewhere than at its host nobody is, and who came without a name is nowhere.
    private func asker(_ request: IQRequest) -> BareJID? {
        guard let from = request.stanza.from?.bare, from.domain == request.stanza.to?.domain, !from.local.isEmpty,
            request.session?.account.isTemporary != true
        else { return nil }
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
        guard options.changesPasswords else { throw .notAllowed }
        guard let session = request.session else { throw .unexpectedRequest }
        // The password is in the request: nobody may have seen it.
        guard session.isSecure else { throw StanzaError(.notAuthorized, type: .modify) }
        let fields = try RegistrationFields(request.payload)
        guard let name = fields.name, let password = fields.password else { throw .badRequest }
        guard JID.prepared(local: name) == account.local else { throw .notAllowed.saying("not your own name") }
        try options.rules.check(password, of: account)
        // By its number, which is short whatever its name is.
        let key = session.account.owner?.description ?? ""
        guard changes.take(key, within: options.changes, at: request.kernel.wallClock) else {
            throw .resourceConstraint.saying("too many new passwords; try again later")
        }
        request.kernel.accountService.setPassword(password, of: account, keeping: session.ref) { result in
            responder.answer(result.map { nil }.mapError(StanzaError.init))
        }
    }
}
