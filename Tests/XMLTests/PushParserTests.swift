import Testing
import XML

@Suite struct PushParserTests {
    static let stanzas = """
        <message to='juliet@example.org' type='chat' xml:lang='en'><body>Hi &amp; <![CDATA[<b>]]> \u{20AC}</body>\
        <active xmlns='http://jabber.org/protocol/chatstates'/></message> \n\
        <presence/><iq id='&apos;&#x20AC;"' type='get'><query xmlns='urn:unknown:x' a:b='c' xmlns:a='urn:a'/></iq>\
        <a:x xmlns:a='urn:unknown:y'><a:y/><z xmlns=''/></a:x><stream:features/>\r\n</stream:stream>
        """

    @Test func `a stream is its header, its stanzas and its end`() {
        let seen = events(header + Self.stanzas)
        #expect(seen.count == 7)
        #expect(
            seen.first
                == .opened("<stream xmlns='http://etherx.jabber.org/streams' to='example.org'/>"))
        #expect(seen.last == .closed)
        var message = Element("message", .client, ["to": "juliet@example.org", "type": "chat"])
        message.language = "en"
        message.append(Element("body", .client, [:], "Hi & <b> \u{20AC}"))
        message.append(Element("active", .chatStates))
        #expect(seen.dropFirst().first == .element(message))
    }

    @Test func `BAD-INPUTS 7: a stream cut at any byte is the same stream`() {
        let bytes = Array((header + Self.stanzas).utf8)
        let whole = events(bytes)
        for cut in 1..<bytes.count {
            let parser = XMLPushParser()
            let seen = feed(Array(bytes[..<cut]), to: parser) + feed(Array(bytes[cut...]), to: parser)
            #expect(seen == whole, "cut at \(cut)")
        }
        for size in 1...7 { #expect(events(bytes, in: size) == whole, "pieces of \(size)") }
    }

    @Test func `each stanza is reported with its last byte, never later`() {
        let stanza = "<message to='a@b'><body>x</body></message>"
        for size in 1...stanza.utf8.count {
            let parser = XMLPushParser()
            _ = feed(Array(header.utf8), to: parser)
            for _ in 0..<3 { #expect(feed(Array(stanza.utf8), to: parser, in: size).count == 1) }
        }
    }

    @Test func `many stanzas in one piece come out one by one`() {
        let seen = streamed(String(repeating: "<presence/>", count: 20_000))
        #expect(seen.count == 20_000)
        #expect(seen.allSatisfy { $0 == .element(Element("presence", .client)) })
    }

    @Test func `white space in pieces and references join into one text`() {
        let seen = streamed("<a>one\r\ntwo&#10;three&lt;four<![CDATA[five]]></a>", in: 1)
        #expect(seen == [.element(Element("a", .client, [:], "one\ntwo\nthree<fourfive"))])
    }

    @Test func `prefixes of the header hold for each stanza`() {
        let root = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:p='urn:p'>"
        let seen = events(root + "<p:x p:y='z'/>").last
        var expected = Element(name: "x", namespace: "urn:p")
        expected.attributes = [Attribute("y", "z", namespace: "urn:p")]
        #expect(seen == .element(expected))
    }

    @Test func `a pause keeps what stands behind it`() {
        let parser = XMLPushParser()
        var seen: [Seen] = []
        let handler: (XMLEvent) -> Directive = { event in
            seen.append(Seen(event))
            return .pause
        }
        parser.feed(Array((header + "<a/><b/><c>").utf8), handler)
        #expect(seen.count == 1)
        parser.feed(Array("</c><d".utf8), handler)
        #expect(seen.count == 1)
        for count in 2...4 {
            parser.resume(handler)
            #expect(seen.count == count)
        }
        parser.resume(handler)
        parser.feed(Array("/>".utf8), handler)
        #expect(
            seen.suffix(4).map(\.description).joined()
                == "abcd".map {
                    "element <\($0) xmlns='jabber:client'/>"
                }.joined())
    }

    @Test func `a stop leaves exactly the bytes behind the event`() {
        for stanza in ["<starttls/>", "<starttls></starttls>", "<starttls\n/>", "<a><b/></a>"] {
            for behind in ["", "\u{16}\u{3}\u{1}", "<next/>", "  <open", "&"] {
                let parser = XMLPushParser()
                _ = feed(Array(header.utf8), to: parser)
                parser.feed(Array((stanza + behind).utf8)) { _ in .stop }
                #expect(String(decoding: parser.takeLeftover(), as: UTF8.self) == behind, "\(stanza)")
                #expect(parser.takeLeftover().isEmpty)
                #expect(feed(Array("<more/>".utf8), to: parser).isEmpty)
            }
        }
    }

    @Test func `a pause at the beginning of much that came at once loses nothing`() {
        let parser = XMLPushParser()
        let stanza = "<message to='juliet@example.org' id='a>b'><body>x</body></message>"
        var count = 0
        let handler: (XMLEvent) -> Directive = { event in
            if case .element = event { count += 1 }
            return .pause
        }
        parser.feed(Array((header + String(repeating: stanza, count: 3000)).utf8), handler)
        for _ in 0..<3000 { parser.resume(handler) }
        #expect(count == 3000)
        #expect(parser.takeLeftover().isEmpty)
    }

    @Test func `a stop behind a pause leaves what was fed while paused as well`() {
        let parser = XMLPushParser()
        _ = feed(Array(header.utf8), to: parser)
        parser.feed(Array("<a/><b/>tail".utf8)) { _ in .pause }
        parser.feed(Array(" and more".utf8)) { _ in .pause }
        parser.resume { _ in .stop }
        #expect(String(decoding: parser.takeLeftover(), as: UTF8.self) == "tail and more")
    }

    @Test func `a root that is empty opens and closes`() {
        let seen = events("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>")
        #expect(seen.count == 2)
        #expect(seen.last == .closed)
    }

    @Test func `a handler may drop the parser`() {
        var parser: XMLPushParser? = XMLPushParser()
        var count = 0
        parser?.feed(Array((header + "<a/><b/>").utf8)) { _ in
            parser = nil
            count += 1
            return .proceed
        }
        #expect(count == 3)
    }

    @Test func `a parser whose stream is over reads another as a new one would`() {
        let parser = XMLPushParser()
        let whole = events(header + Self.stanzas)
        // To its end, in the middle of a tag, in the middle of a stanza, in none at all, with a prologue of its own.
        let before = [header + Self.stanzas, header + "<a", header + "<a><b>text", header, "", "<p:a xmlns:p='urn:p'>"]
        for text in before + before {
            _ = feed(Array(text.utf8), to: parser)
            #expect(parser.reset())
            #expect(feed(Array((header + Self.stanzas).utf8), to: parser, in: 7) == whole, "after \(text)")
            #expect(parser.reset())
        }
        parser.feed(Array((header + "<a/><b/>").utf8)) { _ in .stop }
        #expect(parser.reset())
        #expect(parser.takeLeftover().isEmpty)
        #expect(feed(Array((header + "<p:a/>").utf8), to: parser).last == .failed(.notWellFormed))
    }

    @Test func `a parser that failed or has read much reads no other stream`() {
        let failed = XMLPushParser()
        _ = feed(Array((header + "<a></b>").utf8), to: failed)
        #expect(!failed.reset())
        let restricted = XMLPushParser()
        _ = feed(Array((header + "<!-- -->").utf8), to: restricted)
        #expect(!restricted.reset())
        let worn = XMLPushParser()
        _ = feed(Array((header + "<a>" + String(repeating: "x", count: 40_000)).utf8), to: worn)
        #expect(!worn.reset())
        let busy = XMLPushParser()
        busy.feed(Array((header + "<a/>").utf8)) { _ in
            #expect(!busy.reset())
            return .proceed
        }
    }

    @Test func `BAD-INPUTS 1: what a parser refuses it refuses after a reset as well`() {
        let parser = XMLPushParser()
        _ = feed(Array((header + Self.stanzas).utf8), to: parser)
        #expect(parser.reset())
        let doctype = "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"
        #expect(feed(Array(doctype.utf8), to: parser).last == .failed(.restrictedXML))
        let other = XMLPushParser()
        _ = feed(Array(header.utf8), to: other)
        #expect(other.reset())
        let encoded = "<?xml version='1.0' encoding='ISO-8859-1'?><x/>"
        #expect(feed(Array(encoded.utf8), to: other).last == .failed(.unsupportedEncoding))
    }

    @Test func `nothing follows the end or a fault`() {
        #expect(streamed("</stream:stream><a/>") == [.closed])
        #expect(streamed("<a></b><c/>", in: 1) == [.failed(.notWellFormed)])
        let parser = XMLPushParser()
        _ = feed(Array((header + "</stream:stream>").utf8), to: parser)
        #expect(feed(Array("<a/>".utf8), to: parser).isEmpty)
    }

    @Test func `a parser that has seen many names is replaced without the stream noticing`() {
        let root = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:p='urn:\"&amp;p'>"
        let parser = XMLPushParser()
        _ = feed(Array(root.utf8), to: parser)
        var count = 0
        for index in 0..<8000 {
            // Pieces end within a stanza: the stream never rests.
            let text = "n\(index)='' p:n\(index)='1'/><p:e\(index) "
            for seen in feed(Array(((index == 0 ? "<p:e " : "") + text).utf8), to: parser) {
                guard case .element(let element) = seen, element.namespace == "urn:\"&p" else {
                    Issue.record("\(seen)")
                    return
                }
                count += 1
            }
        }
        #expect(count == 8000)
    }
}
