internal import ModuleKit

/// Making an account, on a stream that is encrypted and not authenticated (XEP-0077 §3.1.1).
struct Registration: Sendable {
    private let options: RegisterModule.Options
    private let limiter: RateLimiter

    init(_ options: RegisterModule.Options, _ limiter: RateLimiter) {
        self.options = options
        self.limiter = limiter
    }

    /// What has to be said, as elements and as a data form (XEP-0077 §4); or where on the web it is to be said (§5).
    var form: Element {
        var query = Element("query", .register)
        query.append(Element("instructions", .register, [:], options.instructions))
        if let page = options.redirect {
            var elsewhere = Element("x", .outOfBand)
            elsewhere.append(Element("url", .outOfBand, [:], page))
            query.append(elsewhere)
        } else {
            query.append(Element("username", .register))
            query.append(Element("password", .register))
            query.append(RegistrationFields.form(options.instructions))
        }
        return query
    }

    /// How many accounts were made on a stream, with the one that is being made.
    private final class Made {
        var count = 0
    }

    func register(
        _ request: StreamRequest, _ made: Counter, _ refused: Counter, _ responder: IQResponder
    ) throws(StanzaError) {
        let query = request.payload
        // XEP-0077 §3.2: nobody is registered here.
        guard query.first("remove", .register) == nil else { throw .unexpectedRequest }
        if let page = options.redirect { throw .notAllowed.saying("accounts are made at \(page)") }
        // XEP-0077 §3.1.1: one identity for one stream, unless the operator wants it otherwise.
        let own = request.context.state.obtain(Made.self) { Made() }
        guard own.count < options.perStream else { throw .notAcceptable.saying("no more accounts on this stream") }
        let fields = try RegistrationFields(query)
        guard let name = fields.name, let password = fields.password else {
            throw .notAcceptable.saying("name and password are needed")
        }
        let address = try options.rules.address(name, at: request.host)
        try options.rules.check(password, of: address)
        // Before the name is looked up: neither guessing names nor deriving keys is free.
        guard limiter.take(request.peer.network, within: options.attempts, at: request.kernel.wallClock) else {
            throw .resourceConstraint.saying("too many registrations; try again later")
        }
        let home = request.kernel.home
        own.count += 1
        let held = Confined((own, made, refused))
        request.kernel.accountService.create(address, password: password, for: request.peer) { result in
            home.perform { _ in
                let (own, made, refused) = held.value
                if case .success = result {
                    made.value += 1
                } else {
                    // Another name may do.
                    refused.value += 1
                    own.count -= 1
                }
                responder.answer(result.map { nil }.mapError(StanzaError.init))
            }
        }
    }
}

extension StanzaError {
    init(_ error: AccountError) {
        switch error {
        case .exists: self = .conflict
        case .notFound: self = .registrationRequired
        case .noSuchHost: self = .itemNotFound
        case .passwordNotAllowed: self = .notAcceptable.saying("the password holds characters that no client can send")
        case .busy, .storage: self = .resourceConstraint
        }
    }
}
