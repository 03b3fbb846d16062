import FuzzSupport
import StreamFraming
import XMPPCore
import XMPPStream

/// A server with one account, `romeo`, for one client: does what the machines ask for, as a connection does.
final class Conversation {
    private static let romeo = BareJID(canonicalLocal: "romeo", domain: "example.net")
    private static let credentials: [HashFunction: ScramCredential] = {
        guard let password = PreparedPassword("wherefore") else { fail("the password is one") }
        let keys = HashFunction.allCases.map {
            ($0, ScramCredential(deriving: $0, from: password, iterations: 2, salt: Array("salt".utf8)))
        }
        return Dictionary(uniqueKeysWithValues: keys)
    }()
    private static let policy = HostPolicy(
        authentication: AuthenticationPolicy(
            allowsPlainInClear: true, iterations: 2, secret: Array("secret".utf8), attempts: 3),
        requests: [EarlyRequest("query", .discoInfo)])
    private static let bindings = ChannelBindings(exporter: [1, 2, 3], serverEndPoint: [4, 5, 6])

    /// What stands between the client's element and the answer to it.
    private enum Question {
        case authentication(C2SNegotiation.AuthenticationResult)
        case bind(BindRequest)
        case resume(ResumeRequest)
    }

    private let setting: Setting
    private var answers: ArraySlice<UInt8>
    private let framing: any Framing
    private var machine: C2SNegotiation
    private var session: Session?
    private var question: Question?
    private var startsTLS = false
    private var isOver = false
    private var isUnreadable = false
    private var knowsPassword = false
    private let output = OutputBuffer()
    private let client: Reader
    /// All that was written, but for the farewell to who cannot be read: it depends on where the bytes were cut.
    private var said = ""

    init(_ setting: Setting, answers: [UInt8]) {
        self.setting = setting
        self.answers = answers[...]
        let pool = ParserPool()
        framing = setting.framing(pool, limits: setting.limits)
        client = Reader(setting)
        machine = C2SNegotiation(tls: setting.tls, random: .fixed(Array("SERVER".utf8)))
        if setting.tls == .direct { machine.tlsEstablished(Self.bindings) }
    }

    /// Hears the client out; what the server said to it.
    func hold(_ pieces: [ArraySlice<UInt8>]) -> String {
        for piece in pieces where !isOver {
            framing.feed(Array(piece)) { take($0) }
            settle()
            flush()
            if setting.sharesParser { framing.rest() }
        }
        return said
    }

    /// What was put off while bytes were read.
    private func settle() {
        while !isOver {
            if let late = question {
                question = nil
                _ = answer(late)
                if !isOver { framing.resume { take($0) } }
            } else if startsTLS {
                startsTLS = false
                // A connection takes these for an attack; here they are what came behind the handshake.
                let behind = framing.takeLeftover()
                framing.restart()
                flush()
                client.restart()
                machine.tlsEstablished(Self.bindings)
                framing.feed(behind) { take($0) }
            } else {
                return
            }
        }
    }

    private func take(_ event: StreamEvent) -> Directive {
        check(!isOver, "nothing is handled after the end")
        check(question == nil, "an element waits for the answer to the one before")
        switch event {
        case .opened(let header): return open(header)
        case .element(let tree):
            if let session { return obey(session.received(tree)) }
            return obey(machine.received(tree.root))
        case .closed: return end(nil)
        case .failed(let error):
            isUnreadable = true
            return end(error)
        }
    }

    private func open(_ header: StreamHeader) -> Directive {
        var policy = Self.policy
        if setting.allowsAnonymous { policy.authentication.mechanisms.insert(.anonymous) }
        let certified = setting.hasCertificate ? ["romeo@example.net", "juliet@example.org"] : []
        let result = machine.opened(
            header, serving: { $0 == "example.net" ? policy : nil }, certified: { _ in certified })
        switch result {
        case .respond(let header, let features):
            check(header.from == "example.net", "the server says who it is")
            framing.writeOpen(header, into: output)
            framing.write(features, into: output)
            return .proceed
        case .fail(let header, let error):
            check(machine.isEnded, "a failure is the end")
            if let header { framing.writeOpen(header, into: output) }
            return end(error)
        }
    }

    private func obey(_ result: C2SNegotiation.ElementResult) -> Directive {
        switch result {
        case .startTLS(let element):
            check(!machine.isSecure, "TLS begins once")
            framing.write(element, into: output)
            startsTLS = true
            return .stop
        case .refuseTLS(let element):
            framing.write(element, into: output)
            return end(nil)
        case .authentication(.challenge), .authentication(.authenticated), .authentication(.rejected), .reply:
            return perform(result)
        case .authentication(let result): return put(.authentication(result))
        case .request:
            check(machine.isSecure && !machine.isAuthenticated, "what is asked early is asked under TLS")
            framing.write(Element("iq", .client, ["type": "result"]), into: output)
            return .proceed
        case .bind(let request): return put(.bind(request))
        case .resume(let request): return put(.resume(request))
        case .close: return end(nil)
        case .fail(let error):
            check(machine.isEnded, "a failure is the end")
            return end(error)
        }
    }

    private func perform(_ result: C2SNegotiation.ElementResult) -> Directive {
        switch result {
        case .authentication(.challenge(let element)), .reply(let element):
            framing.write(element, into: output)
            return .proceed
        case .authentication(.authenticated(let authenticated)):
            check(mayEnter(authenticated), "\(authenticated) gets in")
            check(machine.isSecure || setting.tls == .none || setting.tls == .optional, "TLS comes first")
            framing.write(authenticated.success, into: output)
            flush()
            framing.restart()
            client.restart()
            return .proceed
        case .authentication(.rejected(let rejection)):
            framing.write(rejection.element, into: output)
            knowsPassword = false
            return rejection.closing.map { end($0) } ?? .proceed
        default: fail("that is a question: \(result)")
        }
    }

    private func mayEnter(_ authenticated: C2SNegotiation.Authenticated) -> Bool {
        let isRomeo = authenticated.account == Self.romeo
        switch authenticated.mechanism {
        case .plain: return isRomeo && knowsPassword
        case .external: return isRomeo && setting.hasCertificate && machine.isSecure
        case .anonymous: return !isRomeo && setting.allowsAnonymous && authenticated.account.domain == "example.net"
        // The machine itself has looked at the proof.
        default: return isRomeo
        }
    }

    private func put(_ question: Question) -> Directive {
        guard setting.answersLate else { return answer(question) }
        self.question = question
        return .pause
    }

    private func answer(_ question: Question) -> Directive {
        let choice = answers.popFirst() ?? 0
        switch question {
        case .bind(let request):
            guard choice & 1 == 0, let account = machine.account else {
                if let answer = machine.refuseBind(.resourceConstraint) { framing.write(answer, into: output) }
                return .proceed
            }
            let address = JID(account, resource: request.resource ?? "made")
            check(JID(address.description) == address, "\(address) is an address")
            guard let answer = machine.bound(as: address) else { fail("a question takes its answer") }
            framing.write(answer, into: output)
            begin(Session(address, framing, output))
            return .proceed
        case .resume(let request):
            guard choice & 1 == 0, let account = machine.account else {
                guard let answer = machine.refuseResume(.itemNotFound, h: UInt32(choice)) else {
                    fail("a question takes its answer")
                }
                framing.write(answer, into: output)
                return .proceed
            }
            check(machine.resumed(), "a question takes its answer")
            let session = Session(JID(account, resource: "old"), framing, output)
            begin(session)
            return obey(session.resume(request))
        case .authentication(let result): return answer(result, choice)
        }
    }

    private func answer(_ result: C2SNegotiation.AuthenticationResult, _ choice: UInt8) -> Directive {
        let next: C2SNegotiation.AuthenticationResult?
        switch result {
        case .lookUp where choice & 3 == 3, .find where choice & 3 == 3: next = machine.authenticationFailed()
        case .lookUp(let request):
            let isRomeo = choice & 1 == 0 && request.account == Self.romeo
            next = machine.found(isRomeo ? request.hashes.prefix(1).compactMap { Self.credentials[$0] } : [])
        case .find(let account): next = machine.foundAccount(account == Self.romeo)
        case .check(let question):
            knowsPassword = question.matches()
            next = machine.checked(knowsPassword)
        case .challenge, .authenticated, .rejected: fail("that is no question: \(result)")
        }
        guard let next else { fail("a question takes its answer") }
        switch next {
        case .lookUp, .find, .check: return answer(next, choice)
        case .challenge, .authenticated, .rejected: return perform(.authentication(next))
        }
    }

    private func begin(_ session: Session) {
        check(machine.isEnded, "a session is the end of its negotiation")
        framing.limits = .authenticated
        self.session = session
    }

    private func obey(_ error: StreamError?) -> Directive {
        error.map { end($0) } ?? .proceed
    }

    private func end(_ error: StreamError?) -> Directive {
        flush()
        isOver = true
        if !client.isOpen(behind: output) {
            framing.writeOpen(StreamHeader(from: "example.net", id: "SERVER", version: "1.0"), into: output)
        }
        if let error { framing.write(error.element, into: output) }
        framing.writeClose(into: output)
        flush()
        return .stop
    }

    private func flush() {
        guard !output.isEmpty else { return }
        if !isUnreadable || !isOver { said += output.description }
        client.read(output, isOver: isOver)
        output.removeAll()
    }
}
