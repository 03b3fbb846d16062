internal import ModuleKit

/// Making an account, on a stream that is encrypted and not authenticated (XEP-0077 §3.1.1).
struct Registration: Sendable {
    let rules: RegistrationRules
    let instructions: String
    let limiter: RateLimiter

    /// What has to be said.
    var form: Element {
        var query = Element("query", .register)
        query.append(Element("instructions", .register, [:], instructions))
        query.append(Element("username", .register))
        query.append(Element("password", .register))
        return query
    }

    /// A stream on which an account was made, or is being made.
    private final class Done {}

    func register(
        _ request: StreamRequest, _ made: Counter, _ refused: Counter, _ responder: IQResponder
    ) throws(StanzaError) {
        let query = request.payload
        // XEP-0077 §3.2: nobody is registered here.
        guard query.first("remove", .register) == nil else { throw .unexpectedRequest }
        // XEP-0077 §3.1.1: one identity for one stream.
        guard request.context.state[Done.self] == nil else { throw .notAcceptable.saying("one account is enough") }
        let name = query.first("username", .register)?.text ?? ""
        let password = query.first("password", .register)?.text ?? ""
        guard !name.isEmpty, !password.isEmpty else { throw .notAcceptable.saying("name and password are needed") }
        let address = try rules.address(name, at: request.host)
        try rules.check(password)
        // Before the name is looked up: neither guessing names nor deriving keys is free.
        guard limiter.take(request.peer.network, at: request.kernel.wallClock) else {
            throw .resourceConstraint.saying("too many registrations; try again later")
        }
        let (context, home) = (request.context, request.kernel.home)
        context.state[Done.self] = Done()
        let held = Confined((context, made, refused))
        request.kernel.accountService.create(address, password: password, for: request.peer) { result in
            home.perform { _ in
                let (context, made, refused) = held.value
                if case .success = result {
                    made.value += 1
                } else {
                    // Another name may do.
                    refused.value += 1
                    context.state[Done.self] = nil
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
