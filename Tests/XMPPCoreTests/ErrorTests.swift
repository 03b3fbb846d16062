import Testing
import XMPPCore

@Suite struct ErrorTests {
    @Test func `a stanza error carries its condition, its default type and its text`() {
        let element = StanzaError.itemNotFound.saying("No such room.").element
        #expect(element.isNamed("error", .client))
        #expect(element[attribute: "type"] == "cancel")
        #expect(element.first("item-not-found", .stanzaErrors) != nil)
        #expect(element.first("text", .stanzaErrors)?.text == "No such room.")
        #expect(element.first("text", .stanzaErrors)?.language == "en")
    }

    @Test func `a stream error says in which language its text is`() {
        let text = StreamError.policyViolation.saying("Too much.").element.first("text", .streamErrors)
        #expect(text?.text == "Too much.")
        #expect(text?.language == "en")
    }

    @Test(arguments: [
        (StanzaError.badRequest, "modify"), (.conflict, "cancel"), (.featureNotImplemented, "cancel"),
        (.forbidden, "auth"), (.gone, "cancel"), (.internalServerError, "cancel"), (.itemNotFound, "cancel"),
        (.jidMalformed, "modify"), (.notAcceptable, "modify"), (.notAllowed, "cancel"), (.notAuthorized, "auth"),
        (.policyViolation, "modify"), (.recipientUnavailable, "wait"), (.redirect, "modify"),
        (.registrationRequired, "auth"), (.remoteServerNotFound, "cancel"), (.remoteServerTimeout, "wait"),
        (.resourceConstraint, "wait"), (.serviceUnavailable, "cancel"), (.subscriptionRequired, "auth"),
        (.undefinedCondition, "cancel"), (.unexpectedRequest, "wait"),
    ])
    func `every condition has the type of RFC 6120 §8_3_3`(_ error: StanzaError, _ type: String) {
        #expect(error.element[attribute: "type"] == type)
    }

    @Test(arguments: StanzaError.Condition.allCases)
    func `a stanza error survives being written and read`(_ condition: StanzaError.Condition) {
        let error = StanzaError(
            condition, type: .wait, text: "Later.", by: JID("example.net"),
            address: condition == .gone ? "xmpp:juliet@example.net" : nil,
            details: [Element("too-many", Namespace("urn:example:test"))])
        #expect(StanzaError(reading: XMLTree(error.element).root) == error)
    }

    @Test func `a foreign error without a known condition is undefined`() {
        var element = Element("error", .client)
        element.append(Element("teapot", .stanzaErrors))
        let error = StanzaError(reading: XMLTree(element).root)
        #expect(error.condition == .undefinedCondition)
        #expect(error.type == .cancel)
    }

    @Test(arguments: StreamError.Condition.allCases)
    func `a stream error survives being written and read`(_ condition: StreamError.Condition) {
        let error = StreamError(
            condition, text: "Bye.", address: condition == .seeOtherHost ? "[2001:db8::1]:5222" : nil,
            details: [Element("detail", Namespace("urn:example:test"))])
        let element = error.element
        #expect(element.isNamed("error", .streams))
        #expect(StreamError(reading: XMLTree(element).root) == error)
    }
}
