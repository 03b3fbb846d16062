import Testing
import XMPPCore
import XMPPStream

/// IQs that a host answers under TLS before anybody has authenticated.
@Suite struct EarlyRequestTests {
    private let policy = HostPolicy(
        authentication: Host.policy,
        features: [StreamFeature(Element("register", "urn:f"), requires: .secure, forbids: .authenticated)],
        requests: [EarlyRequest("query", .register)])

    private func iq(_ type: String, _ namespace: Namespace = .register, _ name: String = "query") -> Element {
        Element("iq", .client, ["type": type, "id": "i"], Element(name, namespace))
    }

    private func encrypted() -> Stream {
        let stream = Stream(.stream, policy: policy)
        _ = stream.open()
        _ = stream.send(Element("starttls", .tls))
        stream.tlsEstablished(Host.bindings)
        return stream
    }

    @Test func `the feature is offered under TLS`() {
        let stream = Stream(.stream, policy: policy)
        #expect(stream.open().features?.outline == ["starttls"])
        _ = stream.send(Element("starttls", .tls))
        stream.tlsEstablished(Host.bindings)
        #expect(stream.open().features?.outline.last == "register")
    }

    @Test func `a request is the owner's to answer, as often as it comes, and authentication follows`() {
        let stream = encrypted()
        _ = stream.open()
        #expect(stream.send(iq("get")) == .request)
        #expect(stream.send(iq("set")) == .request)
        guard case .authentication(.lookUp) = stream.send(Client.auth("SCRAM-SHA-256", "n,,n=romeo,r=x")) else {
            Issue.record("no lookup")
            return
        }
        #expect(!stream.isEnded)
    }

    @Test func `before TLS it is refused as everything else`() {
        let stream = Stream(.stream, policy: policy)
        _ = stream.open()
        #expect(stream.send(iq("get")) == .fail(.notAuthorized))
    }

    @Test(arguments: [("result", "query"), ("error", "query"), ("", "query"), ("get", "other")])
    func `what is no such request is refused`(_ type: String, _ name: String) {
        let stream = encrypted()
        _ = stream.open()
        #expect(stream.send(iq(type, .register, name)) == .fail(.notAuthorized))
    }

    @Test func `another namespace is refused`() {
        let stream = encrypted()
        _ = stream.open()
        #expect(stream.send(iq("get", .roster)) == .fail(.notAuthorized))
    }

    @Test func `during an exchange it is refused`() {
        let stream = encrypted()
        _ = stream.open()
        guard case .authentication(.lookUp(let request)) = stream.send(Client.auth("SCRAM-SHA-256", "n,,n=romeo,r=x")),
            case .challenge = stream.found(Host.find(request))
        else {
            Issue.record("no challenge")
            return
        }
        #expect(stream.send(iq("get")) == .fail(.notAuthorized))
    }
}
