import Foundation
import FoundationXML
import Testing
import XML

/// Another parser, libxml2, must see in what is written what this one sees: two that disagree let stanzas be smuggled.
@Suite struct DifferentialTests {
    @Test func `BAD-INPUTS 6: libxml2 reads what is written as the same tree`() {
        var random = SeededGenerator(2022)
        for _ in 0..<500 {
            let element = randomElement(&random)
            let reader = LibXMLReader()
            let parser = XMLParser(data: Data(element.description.utf8))
            parser.shouldProcessNamespaces = true
            parser.shouldReportNamespacePrefixes = true
            parser.delegate = reader
            guard parser.parse(), let read = reader.root, read == sorted(element) else {
                Issue.record("differs: \(element)")
                return
            }
        }
    }

    /// Attributes have no order in the other parser.
    private func sorted(_ element: Element) -> Element {
        var element = element
        element.attributes.sort { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
        element.children = element.children.map { child in
            if case .element(let element) = child { .element(sorted(element)) } else { child }
        }
        return element
    }
}

private final class LibXMLReader: NSObject, XMLParserDelegate {
    var root: Element?
    private var open: [Element] = []
    private var prefixes: [String: [String]] = ["xml": [Namespace.xml.uri]]

    func parser(_ parser: XMLParser, didStartMappingPrefix prefix: String, toURI namespaceURI: String) {
        prefixes[prefix, default: []].append(namespaceURI)
    }

    func parser(_ parser: XMLParser, didEndMappingPrefix prefix: String) {
        _ = prefixes[prefix]?.popLast()
    }

    func parser(
        _ parser: XMLParser, didStartElement elementName: String, namespaceURI: String?,
        qualifiedName qName: String?, attributes attributeDict: [String: String]
    ) {
        var element = Element(name: elementName, namespace: namespaceURI ?? "")
        for (name, value) in attributeDict where name != "xmlns" && !name.hasPrefix("xmlns:") {
            let parts = name.split(separator: ":", maxSplits: 1).map(String.init)
            let namespace = parts.count == 2 ? prefixes[parts[0]]?.last ?? "?" : ""
            element.attributes.append(Attribute(parts.last ?? "", value, namespace: namespace))
        }
        element.attributes.sort { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
        open.append(element)
    }

    func parser(_ parser: XMLParser, didEndElement elementName: String, namespaceURI: String?, qualifiedName: String?) {
        guard let element = open.popLast() else { return }
        if open.isEmpty {
            root = element
        } else {
            open[open.count - 1].append(element)
        }
    }

    func parser(_ parser: XMLParser, foundCharacters string: String) {
        guard !open.isEmpty else { return }
        open[open.count - 1].appendText(string)
    }
}
