import Testing
import XML

@Suite struct TreeTests {
    private let message = Element(
        "message", .client, ["to": "juliet@example.org", "id": "1", "none": nil],
        Element("body", .client, [:], "Hi"), "between", Element("active", .chatStates),
        Element(name: "x", namespace: "urn:unknown:x", attributes: [Attribute("a", "b", namespace: "urn:unknown:x")]),
        "end")

    @Test func `a namespace that code names only after the tree was read is found in it`() throws {
        let tree = try XMLTree(parsing: "<a xmlns:l='urn:late:1' l:x='y'><b xmlns='urn:late:1'/></a>")
        let late: Namespace = "urn:late:1"
        #expect(tree.root.first("b", late) != nil)
        #expect(tree.root.first(late)?.namespace == late)
        #expect(tree.root.attribute("x", late) == "y")
    }

    @Test func `a tree shows what its element says`() {
        let root = XMLTree(message).root
        #expect(root.name == "message")
        #expect(root.namespace == .client)
        #expect(root.isNamed("message", .client))
        #expect(!root.isNamed("messages", .client))
        #expect(!root.isNamed("message", .server))
        #expect(root.attribute("to") == "juliet@example.org")
        #expect(root.attribute("none") == nil)
        #expect(root.attribute("id", is: "1"))
        #expect(!root.attribute("id", is: "2"))
        #expect(root.withAttribute("id") { Array($0) } == [UInt8(ascii: "1")])
        #expect(root.children.map(\.name) == ["body", "active", "x"])
        #expect(root.firstElement?.text == "Hi")
        #expect(root.first("active", .chatStates) != nil)
        #expect(root.first(.chatStates)?.name == "active")
        #expect(root.first("active", .client) == nil)
        #expect(root.text == "betweenend")
        let unknown = Array(root.children).last
        #expect(unknown?.namespace == nil)
        #expect(unknown?.namespaceURI == "urn:unknown:x")
        #expect(unknown?.attribute("a") == nil)
        #expect(root.element == message)
        #expect(unknown?.tree.root.element == unknown?.element)
    }

    @Test func `the bits tell of direct children only, and only of namespaces known to code`() {
        let element = Element(
            "message", .client, [:], Element("active", .chatStates),
            Element(name: "x", namespace: "urn:unknown:x", children: [.element(Element("request", .receipts))]))
        #expect(XMLTree(element).payloadNamespaces == Namespace.chatStates.bit)
        guard case .element(let parsed) = streamed(element.description).last else {
            Issue.record("not read")
            return
        }
        #expect(XMLTree(parsed).payloadNamespaces == Namespace.chatStates.bit)
    }

    @Test func `an element can be changed`() {
        var element = message
        element[attribute: "to"] = nil
        element[attribute: "id"] = "2"
        element[attribute: "type"] = "chat"
        element.language = "de"
        element.removeElements { $0.namespace == "urn:unknown:x" }
        element.appendText("!")
        #expect(element.attributes.map(\.name) == ["id", "type", "lang"])
        #expect(element[attribute: "id"] == "2")
        #expect(element.language == "de")
        #expect(element.elements.count == 2)
        #expect(element.text == "betweenend!")
        #expect(element.first("body", .client)?.text == "Hi")
        #expect(element.first("body", .server) == nil)
    }

    @Test func `what counts as kept grows with the content`() {
        let small = XMLTree(Element("a", .client)).byteCount
        let text = String(repeating: "x", count: 1000)
        #expect(XMLTree(Element("a", .client, [:], text)).byteCount >= small + 1000)
    }

    @Test func `well-known namespaces have their numbers and names, others get one once`() {
        #expect(Namespace.empty.id == 0)
        #expect(Namespace.empty.uri.isEmpty)
        #expect(Namespace("jabber:client") == .client)
        #expect(Namespace.streams.uri == "http://etherx.jabber.org/streams")
        #expect(Namespace.known("urn:xmpp:ping") == .ping)
        #expect(Namespace.known("urn:test:never") == nil)
        let made: Namespace = "urn:test:made"
        #expect(Namespace("urn:test:made") == made)
        #expect(Namespace.known("urn:test:made") == made)
        #expect(made.uri == "urn:test:made")
        for length in 0..<40 {
            let uri = "long:" + String(repeating: "n", count: length)
            #expect(Namespace(uri).uri == uri)
        }
    }

    @Test func `namespaces may be made by many threads at once`() async {
        await withTaskGroup(of: [Namespace].self) { group in
            for _ in 0..<8 { group.addTask { (0..<200).map { Namespace("urn:test:thread:\($0)") } } }
            var all: [[Namespace]] = []
            for await made in group { all.append(made) }
            #expect(Set(all).count == 1)
            #expect(Set(all[0]).count == 200)
        }
    }
}
