import Testing
import XMPPCore
import XMPPStream

@Suite struct BindTests {
    static func error(_ answer: Element?) -> String? {
        answer?.first("error", .client)?.elements.first?.name
    }

    @Test(arguments: FramingKind.allCases)
    func `a client may leave the resource to the server`(_ framing: FramingKind) {
        for element in [Client.bind(), Client.bind("")] {
            let stream = Stream(framing)
            _ = stream.authenticate()
            #expect(stream.send(element) == .bind(BindRequest(id: "b1", resource: nil)))
        }
        #expect(Bind.makeResource() != Bind.makeResource())
        #expect(JID.prepared(resource: Bind.makeResource()) != nil)
        #expect(Bind.makeResource().utf8.count == 16)
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 16: a resource is canonical before anybody sees it`(_ framing: FramingKind) {
        for (wanted, canonical) in [("e\u{301}", "\u{E9}"), ("a\u{A0}b", "a b"), ("Caf\u{E9}", "Caf\u{E9}")] {
            let stream = Stream(framing)
            _ = stream.authenticate()
            guard case .bind(let request) = stream.send(Client.bind(wanted)) else {
                Issue.record("refused")
                continue
            }
            #expect(request.resource.map { Array($0.utf8) } == Array(canonical.utf8))
        }
    }

    @Test(
        arguments: [String(repeating: "x", count: 1 << 20), "a\u{202E}b", "\u{E000}", "a\u{200B}b"],
        FramingKind.allCases)
    func `BAD-INPUTS 16: a resource that breaks the rules is a bad request, and the client may ask again`(
        _ resource: String, _ framing: FramingKind
    ) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        guard case .reply(let answer) = stream.send(Client.bind(resource)) else {
            Issue.record("not refused")
            return
        }
        #expect(Self.error(answer) == "bad-request")
        #expect(answer[attribute: "id"] == "b1")
        #expect(stream.send(Client.bind("x")) == .bind(BindRequest(id: "b1", resource: "x")))
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 16: a character that no XML holds is refused as well`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        guard case .reply(let answer) = stream.hand(Client.bind("\u{FFFE}")) else {
            Issue.record("not refused")
            return
        }
        #expect(Self.error(answer) == "bad-request")
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 20: a request without an id or of another type is a bad request`(_ framing: FramingKind) {
        for element in [Client.bind("x", id: nil), Client.bind("x", id: ""), Client.bind("x", type: "get")] {
            let stream = Stream(framing)
            _ = stream.authenticate()
            guard case .reply(let answer) = stream.send(element) else {
                Issue.record("not refused")
                continue
            }
            #expect(answer[attribute: "type"] == "error")
            #expect(answer[attribute: "id"] == element[attribute: "id"] ?? "")
            #expect(Self.error(answer) == "bad-request")
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `a request with more than one payload is a bad request`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        var element = Client.bind("x")
        element.append(Element("x", Namespace("urn:example:x")))
        guard case .reply(let answer) = stream.send(element) else {
            Issue.record("not refused")
            return
        }
        #expect(Self.error(answer) == "bad-request")
    }

    @Test(arguments: ["result", "error"], FramingKind.allCases)
    func `an answer is not answered, and is too early`(_ type: String, _ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        #expect(stream.send(Client.bind("x", type: type)).error == .notAuthorized)
    }

    @Test(
        arguments: [
            ("example.net", true), ("romeo@example.net", true), ("ROMEO@example.net/x", true),
            ("juliet@example.net", false), ("example.org", false), ("romeo@example.org", false),
        ], FramingKind.allCases)
    func `before a resource is bound nobody but the server may be asked`(
        _ asked: (to: String, isFine: Bool), _ framing: FramingKind
    ) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        var element = Client.bind("x")
        element[attribute: "to"] = asked.to
        let result = stream.send(element)
        #expect(result == (asked.isFine ? .bind(BindRequest(id: "b1", resource: "x")) : .fail(.notAuthorized)))
    }

    @Test(arguments: [true, false], FramingKind.allCases)
    func `requests that fail are bounded`(_ isOwnerAsked: Bool, _ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        for _ in 0..<10 {
            let result = stream.send(Client.bind(isOwnerAsked ? "x" : "a\u{200B}b"))
            #expect(result.error == nil)
            if isOwnerAsked { #expect(stream.refuseBind(.conflict) != nil) }
        }
        #expect(stream.send(Client.bind("y")).error == .policyViolation)
        #expect(stream.isEnded)
    }

    @Test(arguments: FramingKind.allCases)
    func `the owner may refuse a resource`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        #expect(stream.refuseBind(.conflict) == nil)
        _ = stream.send(Client.bind("x"))
        #expect(Self.error(stream.refuseBind(.conflict)) == "conflict")
        #expect(stream.bound(as: JID(Host.romeo, resource: "x")) == nil)
        _ = stream.send(Client.bind("y", id: "b2"))
        #expect(stream.bound(as: JID(Host.romeo, resource: "y"))?[attribute: "id"] == "b2")
        #expect(stream.refuseBind(.conflict) == nil)
    }

    @Test func `what modules answer stands behind the address, and nothing else changes`() {
        let answer = Bind.result(id: "b1", JID(Host.romeo, resource: "x"))
        #expect(Bind.result(answer, adding: []) == answer)
        let longer = Bind.result(answer, adding: [Element("x", Namespace("urn:example:x"))])
        #expect(longer.attributes == answer.attributes)
        #expect(longer.first("bind", .bind)?.elements.map(\.name) == ["jid", "x"])
        #expect(longer.elements.count == 1)
    }

    @Test(arguments: FramingKind.allCases)
    func `an element while the owner decides ends the stream`(_ framing: FramingKind) {
        let stream = Stream(framing)
        _ = stream.authenticate()
        _ = stream.send(Client.bind("x"))
        #expect(stream.send(Client.bind("y")).error == .policyViolation)
        #expect(stream.bound(as: JID(Host.romeo, resource: "x")) == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `a client may resume, and bind when that fails`(_ framing: FramingKind) {
        let resume = Element("resume", .streamManagement, ["previd": "some-id", "h": "7"])
        let stream = Stream(framing)
        _ = stream.authenticate()
        #expect(!stream.resumed())
        #expect(stream.send(resume) == .resume(ResumeRequest(previd: "some-id", h: 7)))
        let failed = stream.refuseResume(.itemNotFound, h: 12)
        #expect(failed?.isNamed("failed", .streamManagement) == true)
        #expect(failed?[attribute: "h"] == "12")
        #expect(failed?.first("item-not-found", .stanzaErrors) != nil)
        #expect(stream.send(resume) == .resume(ResumeRequest(previd: "some-id", h: 7)))
        #expect(stream.refuseResume(.itemNotFound)?[attribute: "h"] == nil)
        _ = stream.send(Client.bind("x"))
        #expect(stream.bound(as: JID(Host.romeo, resource: "x")) != nil)

        let other = Stream(framing)
        _ = other.authenticate()
        _ = other.send(resume)
        #expect(other.resumed())
        #expect(other.isEnded)
        #expect(other.refuseResume(.itemNotFound) == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `stream management waits for the resource`(_ framing: FramingKind) {
        for name in ["enable", "r"] {
            let stream = Stream(framing)
            _ = stream.authenticate()
            #expect(
                stream.send(Element(name, .streamManagement))
                    == .reply(StreamManagementElement.failed(.unexpectedRequest)))
            #expect(stream.send(Client.bind("x")) == .bind(BindRequest(id: "b1", resource: "x")))
        }
    }

    @Test(arguments: FramingKind.allCases)
    func `a host without stream management does not know its elements`(_ framing: FramingKind) {
        let stream = Stream(framing, policy: HostPolicy(authentication: Host.policy, streamManagement: false))
        _ = stream.authenticate()
        let resume = Element("resume", .streamManagement, ["previd": "x", "h": "0"])
        #expect(stream.send(resume).error == .unsupportedStanzaType)
    }
}
