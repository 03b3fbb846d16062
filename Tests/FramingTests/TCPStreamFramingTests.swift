import Glibc
import Testing
import XMPPCore
import XMPPTransport

@Suite struct TCPStreamFramingTests {
    private let pool = ParserPool()

    private func framing(_ limits: XMLLimits = .authenticated, _ namespace: Namespace = .client) -> TCPStreamFraming {
        TCPStreamFraming(pool: pool, limits: limits, contentNamespace: namespace)
    }

    @Test func `a header opens the stream with what it says`() {
        let seen = framing().see(
            """
            <?xml version='1.0'?>
            <stream:stream from='romeo@example.net' to='example.net' id='x' version='1.0' xml:lang='en' \
            xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>
            """)
        let header = StreamHeader(
            to: "example.net", from: "romeo@example.net", id: "x", version: "1.0", language: "en")
        #expect(seen == [.opened(header)])
    }

    @Test func `the streams' namespace may be the default one`() {
        let seen = framing().see("<stream xmlns='http://etherx.jabber.org/streams'><message xmlns='jabber:client'/>")
        #expect(seen == [.opened(StreamHeader()), .element("<message xmlns='jabber:client'/>")])
    }

    @Test(
        arguments: [
            ("<stream:stream xmlns='jabber:client' xmlns:stream='http://example.org/'>", .invalidNamespace),
            ("<stream xmlns='jabber:client'>", .invalidNamespace),
            ("<stream>", .invalidNamespace),
            ("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>", .invalidNamespace),
            (
                "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>",
                .invalidNamespace
            ),
            ("<stream:stream xmlns='urn:x' xmlns:stream='http://etherx.jabber.org/streams'>", .invalidNamespace),
            ("<stream:features xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>", .badFormat),
            ("<stream:stream xmlns='jabber:client'>", .badNamespacePrefix),
            ("<message xmlns='jabber:client'/>", .invalidNamespace),
            ("hello", .notWellFormed),
        ] as [(String, StreamError.Condition)])
    func `BAD-INPUTS 7: a header of the wrong kind has its own error`(text: String, condition: StreamError.Condition) {
        for size in [1, Int.max] {
            let framing = framing()
            var seen: [Seen] = []
            for piece in pieces(Array((text + "<more/>").utf8), size) { seen += framing.see(piece) }
            #expect(seen.count == 1)
            #expect(seen.last?.failure == condition)
        }
    }

    @Test func `faults become the stream errors of RFC 6120`() {
        let faults: [(XMLFault, StreamError.Condition)] = [
            (.notWellFormed, .notWellFormed), (.restrictedXML, .restrictedXML), (.incomplete, .notWellFormed),
            (.unsupportedEncoding, .unsupportedEncoding), (.badNamespacePrefix, .badNamespacePrefix),
            (.textBetweenElements, .badFormat), (.nestedStream, .badFormat), (.tooLarge(.element), .policyViolation),
        ]
        for (fault, condition) in faults { #expect(StreamError(fault).condition == condition) }
        #expect(framing().see(header + "<!-- -->").last?.failure == .restrictedXML)
        #expect(
            framing(XMLLimits(maxElementBytes: 200)).see(header + "<a>" + String(repeating: "x", count: 300)).last?
                .failure == .policyViolation)
    }

    @Test func `BAD-INPUTS 7: what stands in clear text behind starttls is left over, not read`() {
        let framing = framing()
        let injected = "<iq type='set' id='1'><query/></iq>"
        #expect(framing.see(header).count == 1)
        let seen = framing.see("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + injected, .stop)
        #expect(seen.count == 1)
        #expect(framing.see("<later/>").isEmpty)
        #expect(String(decoding: framing.takeLeftover(), as: UTF8.self) == injected)
        framing.restart()
        #expect(framing.takeLeftover().isEmpty)
        #expect(framing.see(header).count == 1)
    }

    @Test func `BAD-INPUTS 7: what is left over and not taken is never read`() {
        let framing = framing()
        _ = framing.see(header)
        _ = framing.see("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>" + header + "<injected/>", .stop)
        framing.restart()
        #expect(framing.see(header).count == 1)
        #expect(framing.see("<real/>") == [.element("<real xmlns='jabber:client'/>")])
        #expect(framing.takeLeftover().isEmpty)
    }

    @Test func `a stream at rest is small`() {
        let framing = framing()
        _ = framing.see(header)
        framing.rest()
        // The C library knows it; no module of ours does.
        typealias Measure = @convention(c) (UnsafeMutableRawPointer?) -> Int
        guard let symbol = dlsym(nil, "malloc_usable_size") else { return }
        let size = unsafeBitCast(symbol, to: Measure.self)(Unmanaged.passUnretained(framing).toOpaque())
        #expect(size > 0 && size < 200)
    }

    @Test func `a handler that feeds is answered after it has returned`() {
        let framing = framing()
        var seen: [Seen] = []
        framing.feed(Array((header + "<a/><b/>").utf8)) { event in
            if case .opened = event { framing.feed(Array("<c/>".utf8)) { _ in .proceed } }
            seen.append(Seen(event))
            return .proceed
        }
        #expect(
            seen.map(\.description).dropFirst().joined()
                == ["a", "b", "c"].map {
                    "<\($0) xmlns='jabber:client'/>"
                }.joined())
    }

    @Test func `a restart from within the handler makes what stands behind the new stream`() {
        let framing = framing()
        var seen: [Seen] = []
        let text = header + "<auth/>\n<?xml version='1.0'?>" + header + "<message/>"
        framing.feed(Array(text.utf8)) { event in
            seen.append(Seen(event))
            if case .element(let tree) = event, tree.root.isNamed("auth") { framing.restart() }
            return .proceed
        }
        #expect(seen.map(\.description).joined(separator: "|").contains("auth xmlns='jabber:client'/>|opened"))
        #expect(seen.count == 4)
        #expect(seen.last == .element("<message xmlns='jabber:client'/>"))
    }

    @Test func `a restart from within the handler with a pause or a stop waits`() {
        let text = header + "<auth/>" + header + "<message/>"
        for answer in [Directive.pause, .stop] {
            let framing = framing()
            var seen: [Seen] = []
            framing.feed(Array(text.utf8)) { event in
                seen.append(Seen(event))
                guard case .element = event else { return .proceed }
                framing.restart()
                return answer
            }
            #expect(seen.count == 2)
            if answer == .pause {
                #expect(framing.see("<presence/>").isEmpty)
                #expect(framing.seeResumed().count == 3)
            } else {
                #expect(String(decoding: framing.takeLeftover(), as: UTF8.self) == header + "<message/>")
                #expect(framing.see(header + "<message/>").count == 2)
            }
        }
    }

    @Test func `after a restart anything but a header is refused`() {
        let framing = framing()
        _ = framing.see(header)
        framing.restart()
        #expect(framing.see("<message xmlns='jabber:client'/>").last?.failure == .invalidNamespace)
    }

    @Test func `a pause keeps the bytes, also those that come later`() {
        let framing = framing()
        _ = framing.see(header)
        #expect(framing.see("<a/><b/>", .pause).count == 1)
        #expect(framing.see("<c/>").isEmpty)
        framing.rest()
        #expect(framing.seeResumed(.pause).count == 1)
        #expect(framing.seeResumed() == [.element("<c xmlns='jabber:client'/>")])
        #expect(framing.seeResumed().isEmpty)
    }

    @Test func `a resting stream gives its parser to the next`() {
        let first = framing()
        let second = framing()
        _ = first.see(header)
        first.rest()
        #expect(pool.idleCount == 1)
        _ = second.see(header)
        second.rest()
        #expect(pool.idleCount == 2)
        _ = first.see("<a")
        first.rest()
        #expect(pool.idleCount == 1)
        _ = second.see("<b/>")
        #expect(pool.idleCount == 0)
        #expect(first.see("/>") == [.element("<a xmlns='jabber:client'/>")])
        first.rest()
        second.rest()
        #expect(pool.idleCount == 2)
    }

    @Test(arguments: ["<![CDATA[", "<![CDATA[ ", "<!", "<![CDA", "&", "<", "\r", "]]", "<a><![CDATA["])
    func `BAD-INPUTS 2: what one stream leaves half said is not read into another`(half: String) {
        let (bad, good) = (framing(), framing())
        for framing in [bad, good] {
            _ = framing.see(header)
            framing.rest()
        }
        _ = bad.see(half)
        bad.rest()
        #expect(good.see("<presence/>") == [.element("<presence xmlns='jabber:client'/>")])
        let next = framing()
        #expect(next.see(header + "<presence/>").last == .element("<presence xmlns='jabber:client'/>"))
    }

    @Test func `white space at rest needs no parser, and is still counted`() {
        let framing = framing(XMLLimits(maxWhitespaceBytes: 10))
        _ = framing.see(header)
        framing.rest()
        for _ in 0..<10 { #expect(framing.see(" ").isEmpty) }
        #expect(pool.idleCount == 1)
        #expect(framing.see("<a/>").count == 1)
        framing.rest()
        for _ in 0..<5 { #expect(framing.see("\n").isEmpty) }
        #expect(framing.see("     \n").last?.failure == .policyViolation)
        #expect(framing.see("<a/>").isEmpty)
    }

    @Test func `prefixes of the header hold after a rest, and for no other stream`() {
        let prefixed = """
            <s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client' xmlns:p='urn:p&amp;"'>
            """
        let first = framing()
        let second = framing()
        _ = first.see(prefixed)
        _ = second.see(header)
        first.rest()
        second.rest()
        #expect(first.see("<p:a/>") == [.element("<a xmlns='urn:p&amp;&quot;'/>")])
        first.rest()
        #expect(second.see("<p:a/>").last?.failure == .notWellFormed)
        #expect(first.see("</s:stream>") == [.closed])
    }

    @Test func `limits may change while a stream is open`() {
        let framing = framing(XMLLimits(maxElementBytes: 200))
        _ = framing.see(header)
        framing.limits = XMLLimits(maxElementBytes: 2000)
        #expect(framing.see("<a>" + String(repeating: "x", count: 300) + "</a>").count == 1)
        framing.rest()
        framing.limits = XMLLimits(maxElementBytes: 200)
        #expect(framing.see("<a>" + String(repeating: "x", count: 300) + "</a>").last?.failure == .policyViolation)
    }

    @Test func `a stream moves to another loop between and within stanzas`() {
        let other = ParserPool()
        let framing = framing()
        _ = framing.see(header + "<a")
        framing.move(to: other)
        #expect(framing.see("/>").count == 1)
        framing.rest()
        #expect(other.idleCount == 1)
        framing.move(to: pool)
        #expect(framing.see("<b/>").count == 1)
        framing.rest()
        #expect(pool.idleCount == 1)
    }

    @Test func `roots that differ endlessly do not fill the pool`() {
        for index in 0..<1000 {
            let framing = framing()
            let root = header.replacing("to='example.org'", with: "xmlns:p\(index)='urn:\(index)'")
            #expect(framing.see(root + "<p\(index):a/>").count == 2)
            framing.rest()
            #expect(framing.see("<p\(index):a/>").count == 1)
            #expect(pool.idleCount <= 16)
        }
    }

    @Test func `an end ends the stream`() {
        let framing = framing()
        #expect(framing.see(header + "<a/></stream:stream>trailing").last == .closed)
        #expect(framing.see("<a/>").isEmpty)
        #expect(framing.takeLeftover().isEmpty)
    }

    @Test func `random streams that share a pool read as with a parser each`() {
        var random = SeededGenerator(3920)
        for _ in 0..<30 { interleave(&random) }
    }

    private func interleave(_ random: inout SeededGenerator) {
        let roots = [
            header, header.replacing("stream:stream", with: "s:stream").replacing("xmlns:stream", with: "xmlns:s"),
            header.replacing("to='", with: "xmlns:p='urn:p' to='"),
        ]
        let stanzas = [
            "<message to='a@b'><body>&lt;hello&gt; \u{20AC}\u{1F600}</body></message>", "<presence/>", " \n",
            "<iq id='>'/>",
            "<p:x xmlns:p='urn:own' p:y='1'><z xmlns=''/></p:x>",
            "<a>" + String(repeating: "text ", count: 100) + "</a>",
            "<broken", "<![CDATA[", "<a xmlns:q='urn:q'><q:b><![CDATA[<]]></q:b></a>", "\r", "<p:declared/>",
        ]
        // Each is a few streams on one connection, cut short or closed.
        let connections = (0..<12).map { _ in
            (0..<Int.random(in: 1...3, using: &random)).map { _ in
                (roots.randomElement(using: &random) ?? header)
                    + (0..<Int.random(in: 0...30, using: &random)).map { _ in
                        stanzas.randomElement(using: &random) ?? ""
                    }.joined() + (Bool.random(using: &random) ? "</stream:stream>" : "")
            }
        }
        var open = connections.map { texts in
            (
                shared: framing(), alone: TCPStreamFraming(pool: ParserPool(capacity: 0), limits: .authenticated),
                bytes: texts.map { Array($0.utf8) }
            )
        }
        while let index = open.indices.filter({ !open[$0].bytes.isEmpty }).randomElement(using: &random) {
            let (shared, alone, bytes) = (open[index].shared, open[index].alone, open[index].bytes[0])
            let piece = Array(bytes.prefix(Int.random(in: 1...120, using: &random)))
            #expect(shared.see(piece) == alone.see(piece), "\(connections[index])")
            open[index].bytes[0].removeFirst(piece.count)
            if Int.random(in: 0...3, using: &random) > 0 { shared.rest() }
            guard piece.count == bytes.count else { continue }
            shared.restart()
            alone.restart()
            open[index].bytes.removeFirst()
        }
    }

    private func pieces(_ bytes: [UInt8], _ size: Int) -> [[UInt8]] {
        size >= bytes.count ? [bytes] : bytes.map { [$0] }
    }

    // MARK: Writing

    @Test func `what opens and closes a stream reads as such`() {
        let header = StreamHeader(
            to: "romeo@example.net", from: "example.net", id: "a'b", version: "1.0", language: "en")
        let framing = framing()
        let text = written {
            framing.writeOpen(header, into: $0)
            framing.writeClose(into: $0)
        }
        #expect(self.framing().see(text) == [.opened(header), .closed])
    }

    @Test func `features and errors keep the stream prefix`() {
        let framing = framing()
        let features = Element("features", .streams, [:], Element("bind", .bind))
        #expect(
            written { framing.write(features, into: $0) }
                == "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
        #expect(
            written { framing.write(StreamError.hostUnknown.element, into: $0) }
                == """
                <stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>
                """)
        #expect(
            written { framing.write(Element("r", .streamManagement), into: $0) } == "<r xmlns='urn:xmpp:sm:3'/>")
    }

    @Test func `a stanza takes on the namespace of its stream`() throws {
        let stanza = try Stanza(tree("<message xmlns='jabber:client' to='a@b' id='1'><body>x</body></message>"))
        let expected = "<message id='1' to='a@b'><body>x</body></message>"
        for namespace in [Namespace.client, .server, .component] {
            let framing = framing(.authenticated, namespace)
            #expect(written { framing.write(stanza, into: $0) } == expected)
        }
    }
}
