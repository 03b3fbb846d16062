import Testing
import XMPPCore
import XMPPTransport

@Suite struct StanzaTests {
    private func refusal(_ text: String) -> StanzaError.Condition? {
        do {
            _ = try Stanza(tree(text))
            return nil
        } catch {
            return error.condition
        }
    }

    @Test func `a stanza knows its kind, type and addresses`() throws {
        let message = try Stanza(
            tree(
                "<message xmlns='jabber:client' to='Juliet@Example.org/x' from='romeo@example.net' type='chat' id='1'/>"
            ))
        #expect(message.kind == .message)
        #expect(message.type == .chat)
        #expect(message.to?.description == "juliet@example.org/x")
        #expect(message.from?.description == "romeo@example.net")
        #expect(message.id == "1")
        #expect(try Stanza(tree("<presence xmlns='jabber:client'/>")).type == .available)
        #expect(try Stanza(tree("<presence xmlns='jabber:server' type='probe'/>")).type == .probe)
        #expect(try Stanza(tree("<message xmlns='jabber:client'/>")).type == .normal)
        #expect(try Stanza(tree("<iq xmlns='jabber:client' id='1' type='result'/>")).type == .result)
    }

    @Test func `a message of an unknown type is a normal one`() throws {
        #expect(try Stanza(tree("<message xmlns='jabber:client' type='party'/>")).type == .normal)
    }

    @Test(
        arguments: [
            ("<message xmlns='jabber:client' to='a@@b'/>", .jidMalformed),
            ("<message xmlns='jabber:client' to=''/>", .jidMalformed),
            ("<message xmlns='jabber:client' from='@'/>", .jidMalformed),
            ("<presence xmlns='jabber:client' type='away'/>", .badRequest),
            ("<iq xmlns='jabber:client' id='1'/>", .badRequest),
            ("<iq xmlns='jabber:client' id='1' type='maybe'/>", .badRequest),
            ("<iq xmlns='jabber:client' type='get'><a/></iq>", .badRequest),
            ("<iq xmlns='jabber:client' type='get' id=''><a/></iq>", .badRequest),
            ("<iq xmlns='jabber:client' id='1' type='get'/>", .badRequest),
            ("<iq xmlns='jabber:client' id='1' type='set'><a/><b/></iq>", .badRequest),
            ("<iq xmlns='jabber:client' id='1' type='result'><a/><b/></iq>", .badRequest),
            ("<other xmlns='jabber:client'/>", .badRequest), ("<message xmlns='urn:x'/>", .badRequest),
        ] as [(String, StanzaError.Condition)])
    func `a stanza that breaks the rules is refused with the right condition`(
        text: String, condition: StanzaError.Condition
    ) {
        #expect(refusal(text) == condition)
    }

    @Test func `from, to and appended elements stand over the tree`() throws {
        let stanza = try Stanza(
            tree("<message xmlns='jabber:client' from='liar@x' to='a@b/c' type='chat'><body>x</body></message>"))
        let stamped = stanza.with(from: JID("romeo@example.net/o'r"), to: JID("juliet@example.org")).appending(
            Element("delay", .delay, ["stamp": "2026-11-21T00:00:00Z"]))
        #expect(
            stamped.description == """
                <message xmlns='jabber:client' type='chat' from='romeo@example.net/o&apos;r' to='juliet@example.org'>\
                <body>x</body><delay xmlns='urn:xmpp:delay' stamp='2026-11-21T00:00:00Z'/></message>
                """)
        #expect(stamped.namespaces & Namespace.delay.bit != 0)
        #expect(stanza.namespaces & Namespace.delay.bit == 0)
        #expect(try Stanza(XMLTree(stamped.element)).description.contains("<delay"))
        #expect(
            try Stanza(tree("<presence xmlns='jabber:client'/>")).appending(Element("delay", .delay)).description
                == "<presence xmlns='jabber:client'><delay xmlns='urn:xmpp:delay'/></presence>")
    }

    @Test func `what is rendered once is the same as what is written for each`() throws {
        let stanza = try Stanza(tree("<message xmlns='jabber:client' id='1'><body>x</body></message>"))
        let framing = TCPStreamFraming(pool: ParserPool())
        let rendered = framing.render(stanza)
        for recipient in [nil, JID("a@b"), JID("c@d/'")] {
            #expect(
                written { framing.write(stanza, to: recipient, into: $0) }
                    == written { framing.write(rendered, to: recipient, into: $0) })
        }
    }

    @Test func `replies go back to the sender`() throws {
        let request = try Stanza(
            tree("<iq xmlns='jabber:client' from='a@b/c' to='d@e' id='7' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
        )
        #expect(request.payload?.isNamed("ping", .ping) == true)
        #expect(
            request.reply().description == "<iq xmlns='jabber:client' type='result' id='7' from='d@e' to='a@b/c'/>")
        let error = request.reply(error: .serviceUnavailable)
        #expect(
            error.description == """
                <iq xmlns='jabber:client' type='error' id='7' from='d@e' to='a@b/c'><error type='cancel'>\
                <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>
                """)
        #expect(error.error?.condition == .serviceUnavailable)
        #expect(request.canBeRejected)
        #expect(!error.canBeRejected)
        #expect(!request.reply().canBeRejected)
    }

    @Test func `what could not become a stanza is still answered, but never an error`() {
        let broken = tree("<iq xmlns='jabber:client' from='a@b/c' to='@@' id='7' type='get'/>")
        let answer = Stanza.rejection(of: broken, because: .jidMalformed)
        #expect(answer?.to == JID("a@b/c"))
        #expect(answer?.from == nil)
        #expect(answer?.id == "7")
        // The answer to an IQ has an id in any case (RFC 6120 §8.3.1).
        let nameless = Stanza.rejection(of: tree("<iq xmlns='jabber:client' type='get'/>"), because: .badRequest)
        #expect(nameless?.id == "")
        let message = Stanza.rejection(of: tree("<message xmlns='jabber:client' to='@@'/>"), because: .jidMalformed)
        #expect(message != nil && message?.id == nil)
        for type in ["error", "result"] {
            let broken = tree("<iq xmlns='jabber:client' to='@@' id='7' type='\(type)'/>")
            #expect(Stanza.rejection(of: broken, because: .jidMalformed) == nil)
        }
        #expect(Stanza.rejection(of: tree("<other xmlns='jabber:client'/>"), because: .badRequest) == nil)
    }
}
