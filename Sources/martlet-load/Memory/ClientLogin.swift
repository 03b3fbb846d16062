import ModuleKit
import XMPPServer

/// What a client in memory keeps until it has its session: the real negotiation, step by step.
final class ClientLogin {
    enum Step: UInt8 {
        case opening, features, challenge, success, bindFeatures, bound, presence
    }

    private(set) var step = Step.opening
    /// The server's last answer, until it is looked at.
    var answer: XMLTree?
    /// The server has asked to wait.
    var isPaused = false
    /// In the driver's list for the end of this turn.
    var isTouched = false
    var moveTarget: (any Loop)?
    private var scram: SCRAM?

    /// Says what comes next, if it is the client's turn.
    ///
    /// - Returns: False: the server's answer was not the one that belongs here.
    func act(_ transport: CountingTransport, _ driver: LoopDriver) -> Bool {
        guard !isPaused, let handler = transport.handler else { return true }
        if step == .opening {
            step = .features
            return open(handler)
        }
        guard let answer else { return true }
        self.answer = nil
        let root = answer.root
        let user = ClientNames.user(Int(transport.user))
        switch step {
        case .features where root.isNamed("features"):
            step = .challenge
            let scram = SCRAM(.sha256, user: user, nonce: String(driver.random.next(), radix: 36))
            self.scram = scram
            return say(Self.sasl("auth", " mechanism='SCRAM-SHA-256'", scram.first), handler, driver)
        case .challenge where root.isNamed("challenge"):
            step = .success
            guard let final = solve(root.text, driver) else { return false }
            return say(Self.sasl("response", "", final), handler, driver)
        case .success where root.isNamed("success"):
            step = .bindFeatures
            return open(handler)
        case .bindFeatures where root.isNamed("features"):
            step = .bound
            let request =
                "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"
                + "\(ClientNames.resource)</resource></bind></iq>"
            return say(request, handler, driver)
        case .bound where root.attribute("type", is: "result"):
            step = .presence
            return say("<presence/>", handler, driver)
        default: return false
        }
    }

    private func open(_ handler: any StreamHandler) -> Bool {
        let header = StreamHeader(to: ClientNames.host, version: "1.0", contentNamespace: .client)
        take(handler.streamOpened(header))
        return true
    }

    private func say(_ text: String, _ handler: any StreamHandler, _ driver: LoopDriver) -> Bool {
        guard let tree = driver.trees.tree(Array(text.utf8)) else { return false }
        take(handler.received(tree))
        return true
    }

    private func take(_ directive: Directive) {
        if case .pause = directive { isPaused = true }
    }

    /// The client's own work, whose time is left out of the server's.
    private func solve(_ challenge: String, _ driver: LoopDriver) -> [UInt8]? {
        let start = driver.cpu()
        defer { driver.clientCPU += driver.cpu() - start }
        return scram?.final(Base64.decode(challenge), password: ClientNames.password, cache: &driver.scramCache)
    }

    private static func sasl(_ name: String, _ attributes: String, _ data: [UInt8]) -> String {
        "<\(name) xmlns='urn:ietf:params:xml:ns:xmpp-sasl'\(attributes)>\(Base64.encode(data))</\(name)>"
    }
}
