import Testing
import XML

@Suite struct WriterTests {
    private func parse(_ text: String) -> Element? {
        guard case .element(let element) = streamed(text).last else { return nil }
        return element
    }

    private func written(_ body: (XMLWriter) -> Void) -> String {
        let output = OutputBuffer()
        body(XMLWriter(output))
        return output.description
    }

    @Test func `a namespace is written where it changes`() {
        let element = Element(
            "message", .client, [:], Element("body", .client, [:], "x"), Element("active", .chatStates),
            Element(name: "none", namespace: ""))
        let output = OutputBuffer()
        XMLWriter(output).write(element, inheriting: .client)
        let text = """
            <message><body>x</body><active xmlns='http://jabber.org/protocol/chatstates'/><none xmlns=''/></message>
            """
        #expect(output.description == text)
        output.removeAll()
        XMLWriter(output).write(XMLTree(element), inheriting: .client)
        #expect(output.description == text)
        #expect(element.description.hasPrefix("<message xmlns='jabber:client'>"))
    }

    @Test func `BAD-INPUTS 6: markup, quotes, tabs and line ends come back from text and attributes as they were`() {
        let value = "<>&'\" \t\n\r\r\n ]]> \u{20AC}\u{1F600} &amp; &#10;"
        let element = Element("a", .client, ["b": value], value)
        #expect(parse(element.description) == element)
        #expect(parse(XMLTree(element).description) == element)
        #expect(!element.description.dropFirst().dropLast().contains("\n]"))
    }

    @Test func `BAD-INPUTS 6: what is written and read again is the same tree, for random trees`() {
        var random = SeededGenerator(20_261_121)
        for _ in 0..<3000 {
            let element = randomElement(&random)
            let text = written { $0.write(element, inheriting: .client) }
            let tree = XMLTree(element)
            guard tree.root.element == element, written({ $0.write(tree, inheriting: .client) }) == text else {
                Issue.record("differs as a tree: \(text)")
                return
            }
            guard let read = parse(text), read == element else {
                Issue.record("not read as written: \(text)")
                return
            }
        }
    }

    @Test func `BAD-INPUTS 3: what XML cannot say is replaced, never written`() {
        let element = Element("a", .client, ["b": "x\u{0}\u{1F}\u{FFFE}y"], "\u{8}\u{FFFF}\u{FF21}\u{FFFD}")
        let expected = Element(
            "a", .client, ["b": "x\u{FFFD}\u{FFFD}\u{FFFD}y"], "\u{FFFD}\u{FFFD}\u{FF21}\u{FFFD}")
        #expect(parse(element.description) == expected)
        #expect(parse(XMLTree(element).description) == expected)
    }

    @Test func `every byte that needs it is escaped at every place of a block`() {
        for special in ["<", ">", "&", "'", "\"", "\t", "\n", "\r", "\u{0}", "\u{FFFF}", "\u{FF21}"] {
            for place in 0..<40 {
                let value = String(repeating: "x", count: place) + special + String(repeating: "y", count: 40 - place)
                let element = Element("a", .client, ["b": value], value)
                let read = parse(element.description)
                let kept = special == "\u{0}" || special == "\u{FFFF}" ? "\u{FFFD}" : special
                #expect(read?.text == value.replacing(special, with: kept))
                #expect(read?[attribute: "b"] == value.replacing(special, with: kept))
            }
        }
    }

    @Test func `prefixed attributes and the language keep their namespaces`() {
        let text = "<a xmlns:p='urn:p' xmlns:q='urn:q' p:x='1' q:x='2' x='3' xml:lang='de' xml:space='preserve'/>"
        guard let element = parse(text) else {
            Issue.record("not read")
            return
        }
        #expect(element.attributes.count == 5)
        #expect(parse(element.description) == element)
        #expect(element.description.contains("xml:lang='de'"))
    }

    @Test func `an element changes its namespace down to the first other one`() {
        let element = Element(
            "message", .client, ["to": "a", "from": "b"], Element("body", .client),
            Element("forwarded", .forwarded, [:], Element("message", .client, [:], Element("body", .client))))
        let output = OutputBuffer()
        let writer = XMLWriter(output)
        let view = XMLTree(element).root
        writer.startTag(of: view, as: .server, inheriting: .server, omitting: [.from])
        output.append(">")
        writer.content(of: view, as: .server)
        writer.endTag(of: view)
        #expect(
            output.description == """
                <message to='a'><body/><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>\
                <body/></message></forwarded></message>
                """)
    }

    @Test func `a buffer grows, is cut and emptied`() {
        let output = OutputBuffer(capacity: 1)
        for _ in 0..<1000 { output.append("0123456789") }
        #expect(output.count == 10_000)
        output.truncate(to: 5)
        #expect(output.description == "01234")
        output.removeAll(keepingCapacity: false)
        #expect(output.isEmpty)
        #expect(output.capacity == 1024)
    }
}
