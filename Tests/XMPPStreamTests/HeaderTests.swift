import Testing
import XMPPCore
import XMPPStream

/// What the server's headers say, and what it makes of the client's (RFC 6120 §4.7).
@Suite struct HeaderTests {
    private static func answer(_ result: C2SNegotiation.OpenResult) -> StreamHeader? {
        switch result {
        case .respond(let header, _): header
        case .fail(let header, _): header
        }
    }

    @Test(arguments: [nil, "", "example.com", "a b"] as [String?], FramingKind.allCases)
    func `who asks for no host of the server is answered in the server's own name`(
        _ to: String?, _ framing: FramingKind
    ) {
        #expect(Self.answer(Stream(framing).open(Client.header(to)))?.from == "")
        #expect(Self.answer(Stream(framing, name: "example.org").open(Client.header(to)))?.from == "example.org")
    }

    @Test(
        arguments: [
            (nil, nil), ("romeo@example.net", "romeo@example.net"), ("ROMEO@example.net/x", "romeo@example.net"),
            ("example.net", "example.net"), ("@", nil),
        ] as [(String?, String?)], FramingKind.allCases)
    func `the answer is to the bare address that the client gave`(
        _ header: (from: String?, to: String?), _ framing: FramingKind
    ) {
        #expect(Self.answer(Stream(framing).open(Client.header(from: header.from)))?.to == header.to)
    }

    @Test(
        arguments: [
            ("1.0", "1.0"), ("01.00", "1.0"), ("1.13", "1.0"), ("2.4", "1.0"), ("0.9", "0.9"), ("0.09", "0.9"),
            (nil, nil), ("x", "1.0"),
        ] as [(String?, String?)], FramingKind.allCases)
    func `the answer has the lower one of both versions`(
        _ version: (asked: String?, answered: String?), _ framing: FramingKind
    ) {
        #expect(Self.answer(Stream(framing).open(Client.header(version: version.asked)))?.version == version.answered)
    }

    // MARK: Who the client said it is

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 17: who opened the secured stream as somebody else is not let in`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.open(Client.header(from: "romeo@example.net"))
        _ = stream.send(Element("starttls", .tls))
        stream.tlsEstablished(Host.bindings)
        _ = stream.open(Client.header(from: "juliet@example.net"))
        guard case .rejected(let rejection) = stream.plain() else {
            Issue.record("let in")
            return
        }
        #expect(rejection.closing == .invalidFrom)
        #expect(stream.isEnded)
    }

    @Test(arguments: [nil, "Romeo@example.net/x", "example.net", "@"] as [String?], FramingKind.allCases)
    func `who said the truth, or nothing of an account, is let in`(_ from: String?, _ framing: FramingKind) {
        let stream = Stream(framing)
        // What stands in clear is forgotten: anybody may have written it.
        _ = stream.open(Client.header(from: "juliet@example.net"))
        _ = stream.send(Element("starttls", .tls))
        stream.tlsEstablished(Host.bindings)
        _ = stream.open(Client.header(from: from))
        guard case .authenticated = stream.plain() else {
            Issue.record("not let in")
            return
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `a wrong password is a wrong password whoever the client said it is`(_ framing: FramingKind) {
        let stream = Stream(framing, .direct)
        stream.tlsEstablished(Host.bindings)
        _ = stream.open(Client.header(from: "juliet@example.net"))
        guard case .rejected(let rejection) = stream.plain("therefore") else {
            Issue.record("let in")
            return
        }
        #expect(rejection.failure.condition == .notAuthorized)
        #expect(rejection.closing == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `of several addresses in a certificate the header chooses one`(_ framing: FramingKind) {
        for (from, found) in [("juliet@example.net", "juliet@example.net"), ("paris@example.net", nil), (nil, nil)] {
            let stream = Stream(framing, .direct)
            stream.certificate = ["romeo@example.net", "juliet@example.net"]
            stream.tlsEstablished(Host.bindings)
            _ = stream.open(Client.header(from: from))
            let result = stream.send(Client.auth("EXTERNAL", ""))
            if let found {
                #expect(result == .authentication(.find(BareJID(found)!)))
            } else {
                #expect(result.rejection?.failure.condition == .invalidAuthzid)
            }
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `EXTERNAL is the first to be offered`(_ framing: FramingKind) {
        let stream = Stream(framing)
        stream.certificate = ["romeo@example.net"]
        let mechanisms = stream.secure().features?.first("mechanisms", .sasl)?.elements.map(\.text)
        #expect(mechanisms?.first == "EXTERNAL")
        #expect(mechanisms?.last == "PLAIN")
    }
}
