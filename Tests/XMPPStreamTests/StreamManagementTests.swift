import Testing
import XMPPCore
import XMPPStream

@Suite struct StreamManagementTests {
    static func read(
        _ framing: FramingKind, _ name: String, _ attributes: KeyValuePairs<String, String?> = [:]
    ) -> StreamManagementElement {
        StreamManagementElement(framing.carried(Element(name, .streamManagement, attributes)))
    }

    static let request = Element("r", .streamManagement)

    static func answer(_ h: String?) -> Element {
        Element("a", .streamManagement, ["h": h])
    }

    @Test(arguments: FramingKind.allCases)
    func `the elements of a client are read`(_ framing: FramingKind) {
        #expect(Self.read(framing, "r") == .request)
        #expect(Self.read(framing, "a", ["h": "0"]) == .answer(0))
        #expect(Self.read(framing, "a", ["h": "4294967295"]) == .answer(.max))
        #expect(Self.read(framing, "enable") == .enable(resume: false, max: nil))
        #expect(Self.read(framing, "enable", ["resume": "true", "max": "300"]) == .enable(resume: true, max: 300))
        #expect(Self.read(framing, "enable", ["resume": "1"]) == .enable(resume: true, max: nil))
        #expect(Self.read(framing, "enable", ["resume": "false"]) == .enable(resume: false, max: nil))
        #expect(Self.read(framing, "resume", ["previd": "x", "h": "3"]) == .resume(ResumeRequest(previd: "x", h: 3)))
        #expect(Self.read(framing, "resumed", ["previd": "x", "h": "3"]) == .unknown)
        #expect(StreamManagementElement(framing.carried(Element("r", .client))) == .unknown)
    }

    @Test(
        arguments: [
            nil, "", "-1", "+1", " 1", "1 ", "1.0", "0x10", "1e3", "4294967296", "99999999999999999999", "\u{661}",
            "NaN", "１",
        ] as [String?], FramingKind.allCases)
    func `BAD-INPUTS 28: an h that is no number of 32 bits is an error`(_ h: String?, _ framing: FramingKind) {
        #expect(Self.read(framing, "a", ["h": h]) == .malformed(.badRequest))
        #expect(Self.read(framing, "resume", ["previd": "x", "h": h]) == .malformed(.badRequest))
        var management = StreamManagement()
        guard case .streamError(let error) = management.received(framing.carried(Self.answer(h))) else {
            Issue.record("accepted")
            return
        }
        #expect(error.condition == .invalidXML)
        let stream = Stream(framing)
        _ = stream.authenticate()
        let resume = Element("resume", .streamManagement, ["previd": "x", "h": h])
        #expect(stream.send(resume) == .reply(StreamManagementElement.failed(.badRequest)))
        #expect(stream.send(Client.bind()) == .bind(BindRequest(id: "b1", resource: nil)))
    }

    @Test(arguments: FramingKind.allCases)
    func `other attributes are read as strictly`(_ framing: FramingKind) {
        #expect(Self.read(framing, "enable", ["resume": "yes"]) == .malformed(.badRequest))
        #expect(Self.read(framing, "enable", ["max": "-1"]) == .malformed(.badRequest))
        #expect(Self.read(framing, "resume", ["h": "1"]) == .malformed(.badRequest))
        #expect(Self.read(framing, "resume", ["h": "1", "previd": ""]) == .malformed(.badRequest))
        let long = String(repeating: "x", count: 257)
        #expect(Self.read(framing, "resume", ["h": "1", "previd": long]) == .malformed(.itemNotFound))
    }

    @Test func `our elements are those of XEP-0198`() {
        let enabled = StreamManagementElement.enabled(id: "some-id", max: 600)
        #expect(enabled[attribute: "id"] == "some-id")
        #expect(enabled[attribute: "resume"] == "true")
        #expect(enabled[attribute: "max"] == "600")
        #expect(StreamManagementElement.enabled(id: nil, max: 600) == Element("enabled", .streamManagement))
        #expect(StreamManagementElement.answerElement(h: .max)[attribute: "h"] == "4294967295")
        #expect(StreamManagementElement.requestElement == Self.request)
        let resumed = StreamManagementElement.resumed(previd: "x", h: 4)
        #expect(resumed[attribute: "previd"] == "x")
        #expect(resumed[attribute: "h"] == "4")
        let failed = StreamManagementElement.failed(.itemNotFound, h: 4)
        #expect(failed[attribute: "h"] == "4")
        #expect(failed.first("item-not-found", .stanzaErrors) != nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `a question is answered when what was asked for is durable`(_ framing: FramingKind) {
        var management = StreamManagement()
        let first = management.received.receive()
        let second = management.received.receive()
        #expect(management.received(framing.carried(Self.request)) == .answerSoon)
        #expect(management.owedAnswer() == nil)
        _ = management.received.close(second)
        #expect(management.owedAnswer() == nil)
        _ = management.received.close(first)
        #expect(management.owedAnswer() == 2)
        #expect(management.owedAnswer() == nil)
        // What came after the question is not told unasked.
        let third = management.received.receive()
        _ = management.received.close(third)
        #expect(management.owedAnswer() == nil)
        #expect(management.received(framing.carried(Self.request)) == .answer(h: 3))
        #expect(management.dueAnswer() == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `a question whose stanzas stay open is answered all the same, and later again`(_ framing: FramingKind) {
        var management = StreamManagement()
        let number = management.received.receive()
        #expect(management.received(framing.carried(Self.request)) == .answerSoon)
        #expect(management.dueAnswer() == 0)
        #expect(management.dueAnswer() == nil)
        _ = management.received.close(number)
        #expect(management.owedAnswer() == 1)
    }

    @Test(arguments: FramingKind.allCases)
    func `an answer that grows in steps is told in steps`(_ framing: FramingKind) {
        var management = StreamManagement()
        let numbers = (0..<3).map { _ in management.received.receive() }
        #expect(management.received(framing.carried(Self.request)) == .answerSoon)
        var told: [UInt32] = []
        for number in numbers {
            _ = management.received.close(number)
            if let h = management.owedAnswer() { told.append(h) }
        }
        #expect(told == [1, 2, 3])
    }

    @Test(arguments: FramingKind.allCases)
    func `BAD-INPUTS 28: a flood of questions is answered and changes nothing`(_ framing: FramingKind) {
        var management = StreamManagement()
        for _ in 0..<1000 { #expect(management.received(framing.carried(Self.request)) == .answer(h: 0)) }
        _ = management.received.receive()
        for _ in 0..<1000 { #expect(management.received(framing.carried(Self.request)) == .answerSoon) }
        #expect(management.dueAnswer() == 0)
        #expect(management.dueAnswer() == nil)
        #expect(management.owedAnswer() == nil)
    }

    @Test(arguments: FramingKind.allCases)
    func `answers free the queue, and too high ones end the stream`(_ framing: FramingKind) {
        var management = StreamManagement()
        for _ in 0..<3 { _ = management.sent.send(management.policy) }
        #expect(management.received(framing.carried(Self.answer("2"))) == .acked(2))
        #expect(management.received(framing.carried(Self.answer("2"))) == .ignore)
        guard case .streamError(let error) = management.received(framing.carried(Self.answer("4"))) else {
            Issue.record("accepted")
            return
        }
        #expect(error.condition == .undefinedCondition)
    }

    @Test(arguments: FramingKind.allCases)
    func `it is enabled once, and not resumed while it runs`(_ framing: FramingKind) {
        var management = StreamManagement()
        for element in [
            Element("enable", .streamManagement), Element("resume", .streamManagement, ["previd": "x", "h": "0"]),
            Element("resume", .streamManagement),
        ] {
            #expect(
                management.received(framing.carried(element))
                    == .reply(StreamManagementElement.failed(.unexpectedRequest)))
        }
        #expect(management.received(framing.carried(Element("message", .client))) == .unknown)
    }

    @Test(arguments: FramingKind.allCases)
    func `a session goes on counting where it was when the client is back`(_ framing: FramingKind) {
        var management = StreamManagement()
        for _ in 0..<3 { _ = management.sent.send(management.policy) }
        let number = management.received.receive()
        #expect(management.received(framing.carried(Self.request)) == .answerSoon)
        management.detached()
        _ = management.received.close(number)
        #expect(management.owedAnswer() == nil)
        #expect(management.dueAnswer() == nil)
        #expect(management.resume(h: 1) == .acked(1))
        #expect(management.received.durableH == 1)
        // What is left is sent once more, and counts then.
        #expect(management.sent.outstanding == 0)
        for _ in 0..<2 { _ = management.sent.send(management.policy) }
        #expect(management.sent.burstEnded(AckRequestPolicy()) == true)
        #expect(management.check(resumeAt: 3) == nil)
        #expect(management.check(resumeAt: 4) != nil)
        guard case .streamError = management.resume(h: 4) else {
            Issue.record("accepted")
            return
        }
    }
}
