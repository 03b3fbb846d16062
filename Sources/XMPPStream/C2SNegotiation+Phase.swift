internal import XMPPCore

// The transitions. Every function takes the state apart and sets the next one on each path.

extension C2SNegotiation.Phase {
    typealias Facts = C2SNegotiation.Facts
    typealias ElementResult = C2SNegotiation.ElementResult
    typealias AuthenticationResult = C2SNegotiation.AuthenticationResult

    mutating func opened(
        _ header: StreamHeader, _ facts: inout Facts, _ serving: (String) -> HostPolicy?,
        _ certified: (String) -> [String]
    ) -> C2SNegotiation.OpenResult {
        switch consume self {
        case .opening:
            self = .negotiating
        case .restarting:
            self = .unbound
        case .negotiating, .startingTLS, .authenticating, .unbound, .binding, .resuming, .ended:
            self = .ended
            return .fail(nil, .badFormat.saying("The stream is open already."))
        }
        if let error = facts.accept(header, serving) {
            self = .ended
            return .fail(facts.response(to: header), error)
        }
        facts.readCertificate(certified)
        return .respond(facts.response(to: header), features: facts.features)
    }

    mutating func tlsEstablished(_ bindings: ChannelBindings, _ facts: inout Facts) {
        switch self {
        case .startingTLS:
            self = .opening
            facts.secured(bindings)
        case .opening:
            if facts.tls == .direct { facts.secured(bindings) }
        case .negotiating, .authenticating, .restarting, .unbound, .binding, .resuming, .ended:
            break
        }
    }

    mutating func received(_ element: ElementView, _ facts: inout Facts) -> ElementResult {
        if element.isNamed("error", .streams) {
            self = .ended
            return .close
        }
        switch consume self {
        case .negotiating:
            self = .negotiating
            return negotiate(element, &facts)
        case .authenticating(let sasl):
            self = .authenticating(sasl)
            return authenticate(element, sasl, &facts)
        case .unbound:
            self = .unbound
            return bindOrResume(element, &facts)
        case .opening, .startingTLS, .restarting, .binding, .resuming, .ended:
            if element.namespace == .sasl { facts.outOfTurn += 1 }
            // An element while a header, a handshake or our own answer has to come first.
            self = .ended
            return .fail(.policyViolation)
        }
    }

    /// Before authentication, with no exchange under way.
    private mutating func negotiate(_ element: ElementView, _ facts: inout Facts) -> ElementResult {
        if element.isNamed("starttls", .tls) { return startTLS(element, facts) }
        if element.isNamed("auth", .sasl) {
            guard let host = facts.host, let policy = facts.policy else {
                self = .ended
                return .fail(.internalServerError)
            }
            let sasl = SASLServer(
                host: host, policy: policy.authentication, offered: facts.mechanisms, bindings: facts.bindings,
                certified: facts.eligible, isSecure: facts.reached.contains(.secure), random: facts.random)
            return begin(element, sasl, &facts)
        }
        if element.isNamed("abort", .sasl) {
            facts.outOfTurn += 1
            return .authentication(reject(.aborted, nil, &facts))
        }
        if element.isNamed("response", .sasl) {
            facts.outOfTurn += 1
            return .authentication(reject(.malformedRequest, nil, &facts))
        }
        if let answer = Self.tooEarly(element, facts) { return .reply(answer) }
        if facts.answers(element) { return .request }
        return refuse(element)
    }

    /// The answer to stream management that comes before its time; nil: it is something else. The stream goes on
    /// (XEP-0198 §3, §5: not before authentication, and all but resuming not before the resource is bound).
    private static func tooEarly(_ element: ElementView, _ facts: Facts) -> Element? {
        guard element.namespace == .streamManagement, facts.policy?.streamManagement == true else { return nil }
        if case .unknown = StreamManagementElement(element) { return nil }
        return StreamManagementElement.failed(.unexpectedRequest)
    }

    /// RFC 6120 §5.4.2: where it is not offered, or more than a bare command, it fails.
    private mutating func startTLS(_ command: ElementView, _ facts: Facts) -> ElementResult {
        guard facts.tlsFeature.isOffered(facts.reached), facts.offersTLS, command.firstElement == nil else {
            self = .ended
            return .refuseTLS(Element("failure", .tls))
        }
        self = .startingTLS
        return .startTLS(Element("proceed", .tls))
    }

    private mutating func begin(
        _ auth: ElementView, _ sasl: SASLServer, _ facts: inout Facts
    ) -> ElementResult {
        var sasl = sasl
        guard auth.firstElement == nil else { return .authentication(reject(.malformedRequest, nil, &facts)) }
        switch SASLPayload(auth.text) {
        case .malformed: return .authentication(reject(.incorrectEncoding, nil, &facts))
        case .none:
            let step = sasl.begin(mechanism: auth.attribute("mechanism") ?? "", initial: nil)
            return .authentication(perform(step, sasl, &facts))
        case .data(let message):
            let step = sasl.begin(mechanism: auth.attribute("mechanism") ?? "", initial: message)
            return .authentication(perform(step, sasl, &facts))
        }
    }

    /// An exchange is under way.
    private mutating func authenticate(
        _ element: ElementView, _ sasl: SASLServer, _ facts: inout Facts
    ) -> ElementResult {
        guard sasl.awaitsClient else {
            facts.outOfTurn += 1
            self = .ended
            return .fail(.policyViolation)
        }
        self = .negotiating
        var sasl = sasl
        if element.isNamed("response", .sasl) {
            guard element.firstElement == nil else { return .authentication(reject(.malformedRequest, nil, &facts)) }
            let step: SASLServer.Step
            switch SASLPayload(element.text) {
            case .malformed: step = sasl.fail(.incorrectEncoding)
            case .none: step = sasl.respond([])
            case .data(let message): step = sasl.respond(message)
            }
            return .authentication(perform(step, sasl, &facts))
        }
        if element.isNamed("abort", .sasl) { return .authentication(reject(.aborted, nil, &facts)) }
        // RFC 6120 §6.4.2: a second exchange takes the place of the first, which has failed by that.
        if element.isNamed("auth", .sasl) {
            facts.outOfTurn += 1
            let first = reject(.aborted, nil, &facts)
            guard case .rejected(let rejection) = first, rejection.closing == nil else { return .authentication(first) }
            return negotiate(element, &facts)
        }
        if element.isNamed("starttls", .tls) { return startTLS(element, facts) }
        if let answer = Self.tooEarly(element, facts) {
            self = .authenticating(sasl)
            return .reply(answer)
        }
        return refuse(element)
    }

    /// What the owner reports about an exchange.
    mutating func resume(
        _ facts: inout Facts, _ event: (inout SASLServer) -> SASLServer.Step?
    ) -> AuthenticationResult? {
        switch self {
        case .authenticating(var sasl):
            return event(&sasl).map { perform($0, sasl, &facts) }
        case .opening, .negotiating, .startingTLS, .restarting, .unbound, .binding, .resuming, .ended:
            return nil
        }
    }

    private mutating func perform(
        _ step: SASLServer.Step, _ sasl: SASLServer, _ facts: inout Facts
    ) -> AuthenticationResult {
        switch step {
        case .challenge(let data):
            self = .authenticating(sasl)
            return .challenge(SASLPayload.element("challenge", data))
        case .lookUp(let request):
            self = .authenticating(sasl)
            return .lookUp(request)
        case .check(let check):
            self = .authenticating(sasl)
            return .check(check)
        case .find(let account):
            self = .authenticating(sasl)
            return .find(account)
        case .authenticated(let account, let mechanism, _) where facts.belies(account, mechanism):
            return terminate(account)
        case .authenticated(let account, let mechanism, let data):
            self = .restarting
            facts.account = account
            facts.reached.insert(.authenticated)
            let success = SASLPayload.element("success", data ?? [])
            return .authenticated(
                C2SNegotiation.Authenticated(account: account, mechanism: mechanism, success: success))
        case .failed(let failure, let account):
            return reject(failure, account, &facts)
        }
    }

    mutating func refuseAuthenticated(_ failure: SASLFailure, _ facts: inout Facts) -> C2SNegotiation.Rejection? {
        // Its password was looked at.
        guard case .restarting = self,
            case .rejected(let rejection) = reject(failure, facts.account, &facts, isGuess: true)
        else { return nil }
        facts.account = nil
        facts.reached.remove(.authenticated)
        return rejection
    }

    /// Counts the failure; the last one that is allowed ends the stream (RFC 6120 §6.4.5). Guesses are counted apart:
    /// there are clients that try six mechanisms before they come to a password.
    private mutating func reject(
        _ failure: SASLFailure, _ account: BareJID?, _ facts: inout Facts, isGuess: Bool = false
    ) -> AuthenticationResult {
        let isLast: Bool
        if isGuess || failure.cause == .wrongPassword {
            facts.guesses += 1
            isLast = facts.guesses >= facts.policy?.authentication.attempts ?? 1
        } else {
            facts.refusals += 1
            isLast = facts.refusals >= facts.policy?.authentication.refusals ?? 1
        }
        self = isLast ? .ended : .negotiating
        return .rejected(
            C2SNegotiation.Rejection(
                failure: failure, account: account, element: failure.element,
                closing: isLast ? .policyViolation.saying("Too many failed attempts.") : nil))
    }

    /// The password was right, but the stream was opened in somebody else's name.
    private mutating func terminate(_ account: BareJID) -> AuthenticationResult {
        self = .ended
        return .rejected(
            C2SNegotiation.Rejection(
                failure: .invalidAuthzid, account: account, element: SASLFailure.invalidAuthzid.element,
                closing: .invalidFrom))
    }

    /// Authenticated.
    private mutating func bindOrResume(_ element: ElementView, _ facts: inout Facts) -> ElementResult {
        if element.isNamed("resume", .streamManagement), facts.policy?.streamManagement == true {
            switch StreamManagementElement(element) {
            case .resume(let request):
                self = .resuming
                return .resume(request)
            case .malformed(let condition): return .reply(StreamManagementElement.failed(condition))
            case .enable, .request, .answer, .unknown: return refuse(element)
            }
        }
        if let answer = Self.tooEarly(element, facts) { return .reply(answer) }
        let reading = Self.isForServer(element, facts) ? Bind.read(element) : .other
        if reading != .other, facts.refusedBinds >= C2SNegotiation.mostRefusedBinds {
            self = .ended
            return .fail(.policyViolation.saying("Too many failed attempts."))
        }
        switch reading {
        case .request(let request):
            self = .binding(request)
            return .bind(request)
        case .refused(let answer):
            facts.refusedBinds += 1
            return .reply(answer)
        case .other: break
        }
        if element.isNamed("starttls", .tls) { return startTLS(element, facts) }
        // One authentication per stream.
        if element.namespace == .sasl {
            facts.outOfTurn += 1
            self = .ended
            return .fail(.policyViolation)
        }
        return refuse(element)
    }

    /// Before a resource is bound nobody else may be addressed (RFC 6120 §7.1).
    private static func isForServer(_ element: ElementView, _ facts: Facts) -> Bool {
        guard let to = element.attribute("to").flatMap({ JID($0) }) else { return true }
        return to.local.isEmpty ? to.domain == facts.host : to.bare == facts.account
    }

    /// RFC 6120 §4.9.3.12 and §4.9.3.24.
    private mutating func refuse(_ element: ElementView) -> ElementResult {
        let isStanza =
            element.isNamed("iq", .client) || element.isNamed("message", .client)
            || element.isNamed("presence", .client)
        self = .ended
        return .fail(isStanza ? .notAuthorized : .unsupported(element))
    }

    mutating func bound(_ address: JID) -> Element? {
        guard case .binding(let request) = self else { return nil }
        self = .ended
        return Bind.result(id: request.id, address)
    }

    mutating func refuseBind(_ error: StanzaError, _ facts: inout Facts) -> Element? {
        guard case .binding(let request) = self else { return nil }
        self = .unbound
        facts.refusedBinds += 1
        return Bind.refusal(id: request.id, error)
    }

    mutating func resumed() -> Bool {
        guard case .resuming = self else { return false }
        self = .ended
        return true
    }

    mutating func refuseResume(_ condition: StanzaError.Condition, _ h: UInt32?) -> Element? {
        guard case .resuming = self else { return nil }
        self = .unbound
        return StreamManagementElement.failed(condition, h: h)
    }
}
