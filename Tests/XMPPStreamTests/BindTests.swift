import Testing
import XMPPCore
import XMPPStream

@Suite struct BindTests {
    static func error(_ answer: Element?) -> String? {
        answer?.first("error", .client)?.elements.first?.name
    }

    @Test func `a client may leave the resource to the server`() {
        for element in [Client.bind(), Client.bind("")] {
            let stream = Stream()
            _ = stream.authenticate()
            #expect(stream.send(element) == .bind(BindRequest(id: "b1", resource: nil)))
        }
        #expect(Bind.makeResource() != Bind.makeResource())
        #expect(JID.prepared(resource: Bind.makeResource()) != nil)
        #expect(Bind.makeResource().utf8.count == 16)
    }

    @Test func `BAD-INPUTS 16: a resource is canonical before anybody sees it`() {
        for (wanted, canonical) in [("e\u{301}", "\u{E9}"), ("a\u{A0}b", "a b"), ("Caf\u{E9}", "Caf\u{E9}")] {
            let stream = Stream()
            _ = stream.authenticate()
            guard case .bind(let request) = stream.send(Client.bind(wanted)) else {
                Issue.record("refused")
                continue
            }
            #expect(request.resource.map { Array($0.utf8) } == Array(canonical.utf8))
        }
    }

    @Test(arguments: [String(repeating: "x", count: 1 << 20), "a\u{202E}b", "\u{E000}", "a\u{200B}b", "\u{FFFE}"])
    func `BAD-INPUTS 16: a resource that breaks the rules is a bad request, and the client may ask again`(
        _ resource: String
    ) {
        let stream = Stream()
        _ = stream.authenticate()
        guard case .reply(let answer) = stream.send(Client.bind(resource)) else {
            Issue.record("not refused")
            return
        }
        #expect(Self.error(answer) == "bad-request")
        #expect(answer[attribute: "id"] == "b1")
        #expect(stream.send(Client.bind("x")) == .bind(BindRequest(id: "b1", resource: "x")))
    }

    @Test func `BAD-INPUTS 20: a request without an id or of another type is a bad request`() {
        for element in [Client.bind("x", id: nil), Client.bind("x", id: ""), Client.bind("x", type: "get")] {
            let stream = Stream()
            _ = stream.authenticate()
            guard case .reply(let answer) = stream.send(element) else {
                Issue.record("not refused")
                continue
            }
            #expect(answer[attribute: "type"] == "error")
            #expect(Self.error(answer) == "bad-request")
        }
    }

    @Test func `the owner may refuse a resource`() {
        let stream = Stream()
        _ = stream.authenticate()
        #expect(stream.refuseBind(.conflict) == nil)
        _ = stream.send(Client.bind("x"))
        #expect(Self.error(stream.refuseBind(.conflict)) == "conflict")
        #expect(stream.bound(as: JID(Host.romeo, resource: "x")) == nil)
        _ = stream.send(Client.bind("y", id: "b2"))
        #expect(stream.bound(as: JID(Host.romeo, resource: "y"))?[attribute: "id"] == "b2")
        #expect(stream.refuseBind(.conflict) == nil)
    }

    @Test func `an element while the owner decides ends the stream`() {
        let stream = Stream()
        _ = stream.authenticate()
        _ = stream.send(Client.bind("x"))
        #expect(stream.send(Client.bind("y")).error == .policyViolation)
        #expect(stream.bound(as: JID(Host.romeo, resource: "x")) == nil)
    }

    @Test func `a client may resume, and bind when that fails`() {
        let resume = Element("resume", .streamManagement, ["previd": "some-id", "h": "7"])
        let stream = Stream()
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

        let other = Stream()
        _ = other.authenticate()
        _ = other.send(resume)
        #expect(other.resumed())
        #expect(other.isEnded)
        #expect(other.refuseResume(.itemNotFound) == nil)
    }

    @Test func `stream management waits for the resource`() {
        for name in ["enable", "r"] {
            let stream = Stream()
            _ = stream.authenticate()
            #expect(
                stream.send(Element(name, .streamManagement))
                    == .reply(StreamManagementElement.failed(.unexpectedRequest)))
            #expect(stream.send(Client.bind("x")) == .bind(BindRequest(id: "b1", resource: "x")))
        }
    }

    @Test func `a host without stream management does not know its elements`() {
        let stream = Stream(policy: HostPolicy(authentication: Host.policy, streamManagement: false))
        _ = stream.authenticate()
        let resume = Element("resume", .streamManagement, ["previd": "x", "h": "0"])
        #expect(stream.send(resume).error == .unsupportedStanzaType)
    }

    @Test func `resuming before authentication ends the stream`() {
        let stream = Stream()
        _ = stream.secure()
        let resume = Element("resume", .streamManagement, ["previd": "x", "h": "0"])
        #expect(stream.send(resume).error == .unsupportedStanzaType)
    }
}
