import Testing
import XML

/// What breaks servers, each once whole and once byte by byte.
@Suite struct BadXMLTests {
    private func expect(
        _ fault: XMLFault, _ text: String, limits: XMLLimits = .authenticated,
        location: SourceLocation = #_sourceLocation
    ) {
        expect(fault, Array(text.utf8), limits: limits, location: location)
    }

    private func expect(
        _ fault: XMLFault, _ bytes: [UInt8], limits: XMLLimits = .authenticated,
        location: SourceLocation = #_sourceLocation
    ) {
        for size in [Int.max, 1, 3] {
            // A quiet end shows that even what is not complete has been refused.
            #expect(
                events(bytes, in: size, limits: limits).last == .failed(fault), "in pieces of \(size)",
                sourceLocation: location)
        }
    }

    @Test(arguments: [
        "<!DOCTYPE stream>", "<!DOCTYPE s [<!ENTITY a 'b'>]>", "<!DOCTYPE s SYSTEM 'file:///etc/passwd'>",
        "<!DOCTYPE s [<!ENTITY % p SYSTEM 'http://127.0.0.1/'> %p;]>", "<!DOCTYPE s [",
    ])
    func `BAD-INPUTS 1: a document type declaration is refused, whatever it declares`(declaration: String) {
        expect(.restrictedXML, declaration + header)
        expect(.restrictedXML, "<?xml version='1.0'?>" + declaration + header)
        expect(.restrictedXML, header + declaration)
        expect(.restrictedXML, header + "<a>" + declaration)
    }

    @Test func `BAD-INPUTS 1: entities are refused in text and in attributes`() {
        expect(.restrictedXML, header + "<a>&xxe;</a>")
        expect(.restrictedXML, header + "<a b='&xxe;'/>")
        expect(.restrictedXML, header + "<a b='&nbsp;'/>")
    }

    @Test(arguments: ["<!-- x -->", "<!--", "<?php echo 1 ?>", "<?target"])
    func `BAD-INPUTS 2: comments, processing instructions and declarations are refused`(text: String) {
        expect(.restrictedXML, header + text)
        expect(.restrictedXML, header + "<a>" + text)
        if !text.hasPrefix("<?") { expect(.restrictedXML, text + header) }
    }

    @Test(arguments: [
        "<!ELEMENT a ANY>", "<!ATTLIST a b CDATA #IMPLIED>", "<!ENTITY a 'b'>", "<!NOTATIONNOTATION", "<!x>",
    ])
    func `BAD-INPUTS 2: declarations outside a document type are refused`(text: String) {
        expect(.notWellFormed, header + text)
        expect(.notWellFormed, header + "<a>" + text)
        expect(.notWellFormed, text + header)
    }

    @Test func `BAD-INPUTS 2: a second XML declaration is refused`() {
        for text in ["<?xml version='1.0'?><?xml version='1.0'?>" + header, header + "<?xml version='1.0'?>"] {
            for size in [Int.max, 1] {
                let last = events(text, in: size).last
                #expect(last == .failed(.restrictedXML) || last == .failed(.notWellFormed))
            }
        }
    }

    @Test func `BAD-INPUTS 2: CDATA ends where it ends`() {
        #expect(streamed("<a><![CDATA[]]]]><![CDATA[>]]></a>", in: 1) == [.element(Element("a", .client, [:], "]]>"))])
        expect(.notWellFormed, header + "<a>]]></a>")
        expect(.textBetweenElements, header + "<![CDATA[x]]>")
        expect(.notWellFormed, header + "<a><![cdata[x]]></a>")
        expect(.notWellFormed, "<![CDATA[x]]>" + header)
    }

    @Test(arguments: ["ISO-8859-1", "UTF-16", "utf-7", "US-ASCII", "x"])
    func `BAD-INPUTS 2: an encoding other than UTF-8 is refused`(name: String) {
        expect(.unsupportedEncoding, "<?xml version='1.0' encoding='\(name)'?>" + header)
    }

    @Test func `BAD-INPUTS 2: UTF-8 may be declared, and white space may precede the header`() {
        #expect(events("<?xml version='1.0' encoding='utf-8'?>" + header).count == 1)
        #expect(events(" \r\n\t<?xml version='1.0' encoding='UTF-8' standalone='yes'?> \n" + header, in: 1).count == 1)
    }

    @Test func `BAD-INPUTS 2: a byte order mark is text, and text cannot begin a stream`() {
        expect(.notWellFormed, [0xEF, 0xBB, 0xBF] + Array(header.utf8))
        #expect(streamed("<a>\u{FEFF}</a>") == [.element(Element("a", .client, [:], "\u{FEFF}"))])
    }

    @Test func `BAD-INPUTS 2: UTF-16 and UTF-32 are refused as such`() {
        let littleEndian = header.utf16.flatMap { [UInt8(truncatingIfNeeded: $0), UInt8(truncatingIfNeeded: $0 >> 8)] }
        let bigEndian = header.utf16.flatMap { [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)] }
        expect(.unsupportedEncoding, littleEndian)
        expect(.unsupportedEncoding, bigEndian)
        expect(.unsupportedEncoding, [0xFF, 0xFE] + littleEndian)
        expect(.unsupportedEncoding, [0xFE, 0xFF] + bigEndian)
        expect(.unsupportedEncoding, [0, 0, 0xFE, 0xFF])
    }

    @Test(
        arguments: [
            [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x80, 0xBC], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF],
            [0xF0, 0x80, 0x80, 0x80],
            [0xF4, 0x90, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80], [0xFF], [0xFE], [0x80], [0xC3], [0xE2, 0x82],
            [0xF0, 0x9F, 0x98],
            [0x00], [0x01], [0x08], [0x0B], [0x1F], [0xEF, 0xBF, 0xBE], [0xEF, 0xBF, 0xBF],
        ] as [[UInt8]])
    func `BAD-INPUTS 3: bytes that are not UTF-8 or not characters end the stream`(bytes: [UInt8]) {
        expect(.notWellFormed, Array((header + "<a>").utf8) + bytes + Array("</a>".utf8))
        expect(.notWellFormed, Array((header + "<a b='").utf8) + bytes + Array("'/>".utf8))
        expect(.notWellFormed, Array((header + "<a").utf8) + bytes + Array("/>".utf8))
        expect(.notWellFormed, Array((header + "<a ").utf8) + bytes + Array("='x'/>".utf8))
        expect(.notWellFormed, Array((header + "<a xmlns='urn:").utf8) + bytes + Array("'/>".utf8))
    }

    @Test(arguments: [
        "&#0;", "&#x0;", "&#1;", "&#x1F;", "&#xFFFE;", "&#xD800;", "&#x110000;", "&#99999999999;", "&#;", "&;",
    ])
    func `BAD-INPUTS 3: references to what is no character end the stream`(reference: String) {
        expect(.notWellFormed, header + "<a>\(reference)</a>")
        expect(.notWellFormed, header + "<a b='\(reference)'/>")
    }

    @Test(arguments: [
        "<a:b:c xmlns:a='urn:a'/>", "<:a/>", "<a:/>", "<a :b='c'/>", "<u:a/>", "<a u:b='c'/>",
        "<a xmlns:xml='urn:x'/>", "<a xmlns:xmlns='urn:x'/>", "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:b='http://www.w3.org/XML/1998/namespace'/>", "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<p:a xmlns:p=''/>", "<a b='1' b='2'/>", "<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>",
        "<a xmlns='urn:&#1;x'/>", "<a xmlns='urn:\u{1}x'/>", "<1/>", "<a b=c/>", "<a b/>", "<a b='<'/>",
        "<a><b></a></b>",
        "<a b='c'd='e'/>", "< a/>", "<>", "</a>", "<a/ >",
    ])
    func `BAD-INPUTS 4: names and namespaces that XML forbids end the stream`(text: String) {
        expect(.notWellFormed, header + text)
    }

    @Test func `BAD-INPUTS 4: what separates names inside cannot come in by a namespace`() {
        #expect(
            streamed("<a xmlns='urn:x\u{7F}|\n y'/>") == [.element(Element(name: "a", namespace: "urn:x\u{7F}|  y"))])
    }

    @Test func `BAD-INPUTS 4: an undeclared prefix in the header is a bad prefix`() {
        expect(.badNamespacePrefix, "<stream:stream xmlns='jabber:client'>")
        expect(.badNamespacePrefix, "<stream xmlns='http://etherx.jabber.org/streams' a:b='c'>")
    }

    @Test func `BAD-INPUTS 7: text between stanzas, before the header and a stream in the stream are faults`() {
        expect(.textBetweenElements, header + "x")
        expect(.textBetweenElements, header + "<a/>&#32;.")
        expect(.notWellFormed, "x" + header)
        expect(.notWellFormed, "GET / HTTP/1.1\r\n")
        expect(.notWellFormed, [0x16, 0x03, 0x01])
        expect(.nestedStream, header + header)
        #expect(streamed("<a>" + header + "</stream:stream></a>").count == 1)
    }
}
