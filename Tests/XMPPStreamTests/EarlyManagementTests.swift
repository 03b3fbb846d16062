import Testing
import XMPPCore
import XMPPStream

/// Stream management that comes before its time (XEP-0198 §3, §5).
@Suite struct EarlyManagementTests {
    static let elements = [
        Element("enable", .streamManagement), Element("enable", .streamManagement, ["resume": "true"]),
        Element("enable", .streamManagement, ["resume": "maybe"]), Element("r", .streamManagement),
        Element("resume", .streamManagement, ["previd": "some-id", "h": "0"]), Element("resume", .streamManagement),
        Element("a", .streamManagement, ["h": "0"]), Element("a", .streamManagement),
    ]
    private static let refusal = C2SNegotiation.ElementResult.reply(StreamManagementElement.failed(.unexpectedRequest))

    private func isAuthenticated(_ stream: Stream) -> Bool {
        guard case .authenticated = stream.plain() else { return false }
        return true
    }

    @Test(arguments: elements, FramingKind.allCases)
    func `before TLS and before login it is an unexpected request, and the stream goes on`(
        _ element: Element, _ framing: FramingKind
    ) {
        let stream = Stream(framing)
        _ = stream.open()
        #expect(stream.send(element) == Self.refusal)
        #expect(stream.send(Element("starttls", .tls)) == .startTLS(Element("proceed", .tls)))
        stream.tlsEstablished(Host.bindings)
        _ = stream.open()
        #expect(stream.send(element) == Self.refusal)
        #expect(isAuthenticated(stream))
    }

    @Test(arguments: elements, FramingKind.allCases)
    func `within an exchange it is an unexpected request, and the exchange goes on`(
        _ element: Element, _ framing: FramingKind
    ) throws {
        let stream = Stream(framing)
        _ = stream.secure()
        let client = ScramClient()
        guard case .authentication(.lookUp(let request)) = stream.send(Client.auth("SCRAM-SHA-256", client.first)),
            case .challenge(let challenge) = stream.found(Host.find(request))
        else {
            Issue.record("no challenge")
            return
        }
        #expect(stream.send(element) == Self.refusal)
        let text = String(decoding: Base64.decode(challenge.text) ?? [], as: UTF8.self)
        guard case .authentication(.authenticated) = stream.send(Client.response(try client.final(for: text).message))
        else {
            Issue.record("not authenticated")
            return
        }
    }

    @Test(arguments: elements.filter { $0.name != "resume" }, FramingKind.allCases)
    func `before binding all but resuming is an unexpected request, and binding works`(
        _ element: Element, _ framing: FramingKind
    ) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        #expect(stream.send(element) == Self.refusal)
        guard case .bind = stream.send(Client.bind()) else {
            Issue.record("no bind")
            return
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `where nobody offers it, and for names that it does not have, the stream ends`(_ framing: FramingKind) {
        let without = Stream(framing, policy: HostPolicy(authentication: Host.policy, streamManagement: false))
        _ = without.secure()
        #expect(without.send(Element("enable", .streamManagement)).error == .unsupportedStanzaType)
        let unknown = Stream(framing)
        _ = unknown.secure()
        #expect(unknown.send(Element("inable", .streamManagement)).error == .unsupportedStanzaType)
    }
}
