import Testing
import XML

@Suite struct DocumentReaderTests {
    @Test func `a document is one element, white space around it aside`() throws {
        let reader = XMLDocumentReader()
        for _ in 0..<3 {
            let tree = try reader.read("\n<message xmlns='jabber:client'><body>x</body></message> ")
            #expect(tree.root.first("body", .client)?.text == "x")
        }
        #expect(try XMLTree(parsing: "<a/>").root.namespace == .empty)
    }

    @Test(
        arguments: [
            ("", .incomplete), (" ", .incomplete), ("<a>", .incomplete), ("<a/", .incomplete),
            ("<a/><b/>", .notWellFormed),
            ("<a/>x", .textBetweenElements), ("x", .textBetweenElements), ("</document>", .notWellFormed),
            ("<!DOCTYPE a><a/>", .restrictedXML), ("<a>&b;</a>", .restrictedXML), ("<p:a/>", .notWellFormed),
        ] as [(String, XMLFault)])
    func `anything else is a fault, and the reader reads on`(text: String, fault: XMLFault) throws {
        let reader = XMLDocumentReader()
        #expect(throws: fault) { try reader.read(text) }
        #expect(try reader.read("<a/>").root.isNamed("a"))
    }

    @Test func `what was written is read back, one document after the other`() throws {
        var random = SeededGenerator(313)
        let reader = XMLDocumentReader()
        for _ in 0..<500 {
            let element = randomElement(&random, parent: "")
            #expect(try reader.read(element.description).root.element == element)
        }
    }
}
