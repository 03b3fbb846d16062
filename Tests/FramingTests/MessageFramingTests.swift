import Testing
import XMPPCore
import XMPPTransport

@Suite struct MessageFramingTests {
    private let pool = ParserPool()

    private func opened() -> MessageFraming {
        let framing = MessageFraming(pool: pool, limits: .authenticated)
        #expect(framing.see(open) == [.opened(StreamHeader(to: "example.org", version: "1.0"))])
        return framing
    }

    @Test func `each message is one element`() {
        let framing = opened()
        #expect(
            framing.see("<message xmlns='jabber:client'><body>x</body></message>")
                == [.element("<message xmlns='jabber:client'><body>x</body></message>")])
        #expect(framing.see("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>") == [.closed])
        #expect(framing.see("<message xmlns='jabber:client'/>").isEmpty)
        #expect(pool.idleCount == 1)
    }

    @Test(
        arguments: [
            ("<a/><b/>", .notWellFormed), ("<a/>text", .badFormat), ("<a", .notWellFormed), ("<a>", .notWellFormed),
            (" <a/>", .notWellFormed), ("", .notWellFormed), (" ", .notWellFormed), ("x", .notWellFormed),
            ("</document>", .notWellFormed), ("</document><document>", .notWellFormed),
            ("<a/></document>", .notWellFormed),
            ("<!DOCTYPE a><a/>", .restrictedXML), ("<!-- x --><a/>", .restrictedXML), ("\u{FEFF}<a/>", .notWellFormed),
            ("<a>\u{0}</a>", .notWellFormed), ("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", .badFormat),
            ("<other xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", .badFormat),
            ("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", .badFormat),
        ] as [(String, StreamError.Condition)])
    func `BAD-INPUTS 7: a message that is not one whole element ends the stream`(
        text: String, condition: StreamError.Condition
    ) {
        let framing = opened()
        let seen = framing.see(text)
        #expect(seen.count == 1)
        #expect(seen.last?.failure == condition)
        #expect(framing.see("<a/>").isEmpty)
        // Nothing of it stays with the next stream's parser.
        #expect(opened().see("<a xmlns='b'/>") == [.element("<a xmlns='b'/>")])
    }

    @Test func `nothing but open can be the first message`() {
        for text in ["<message xmlns='jabber:client'/>", "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"] {
            #expect(MessageFraming(pool: pool).see(text).last?.failure == .badFormat)
        }
        #expect(MessageFraming(pool: pool).see("<open xmlns='urn:x'/>").last?.failure == .invalidNamespace)
    }

    @Test func `a restart asks for a new open`() {
        let framing = opened()
        framing.restart()
        #expect(framing.see(open).count == 1)
        #expect(framing.see(open).last?.failure == .badFormat)
    }

    @Test func `messages wait through a pause`() {
        let framing = opened()
        #expect(framing.see("<a/>", .pause).count == 1)
        #expect(framing.see("<b/>").isEmpty)
        #expect(framing.see("<c/>").isEmpty)
        #expect(framing.seeResumed(.pause).count == 1)
        #expect(framing.seeResumed().count == 1)
        #expect(framing.see("<d/>").count == 1)
    }

    @Test func `each message written stands alone`() throws {
        let framing = opened()
        let stanza = try Stanza(tree("<message xmlns='jabber:client' to='a@b'><body/></message>"))
        #expect(
            written { framing.write(stanza, into: $0) } == "<message xmlns='jabber:client' to='a@b'><body/></message>")
        #expect(
            written { framing.write(Element("features", .streams, [:], Element("bind", .bind)), into: $0) }
                == """
                <stream:features xmlns:stream='http://etherx.jabber.org/streams'>\
                <bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>
                """)
        let header = StreamHeader(to: "a", from: "b", id: "c", version: "1.0", language: "de")
        let other = MessageFraming(pool: pool)
        #expect(other.see(written { framing.writeOpen(header, into: $0) }) == [.opened(header)])
        #expect(other.see(written { framing.writeClose(into: $0) }) == [.closed])
    }
}
