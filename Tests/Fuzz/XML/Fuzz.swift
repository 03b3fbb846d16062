import FuzzSupport
import XML
import XMPPCore

/// An XML document, cut where the choices say; the document's text is also put into an element of our own making.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    var input = Input(start, count)
    let limits: XMLLimits = input.choose() & 1 == 0 ? .authenticated : small
    let whole = document([input.body[...]], limits)
    if case .success(let tree) = whole {
        check(tree, limits)
        roundTrip(tree)
        asStanza(tree)
        // A document type, an entity, a comment or an instruction cannot be told from the tree; so none gets this far.
        for mark in ["<!--", "<!DOCTYPE", "<?", "<!ENTITY"] where !input.body.contains(cdata) {
            check(!input.body.contains(Array(mark.utf8)), "\(mark) is refused")
        }
    }
    if case .success(let tree) = document(input.pieces, limits) {
        guard case .success(let same) = whole else { fail("pieces give a tree, the whole does not") }
        check(tree == same, "pieces give the same tree")
    } else if case .success = whole {
        fail("the whole gives a tree, pieces do not")
    }
    build(input)
    return 0
}

private let small = XMLLimits(
    maxElementBytes: 512, maxTokenBytes: 128, maxWhitespaceBytes: 16, maxDepth: 4, maxAttributes: 4, maxElements: 8)

private let cdata = Array("<![CDATA[".utf8)

/// The one element that the pieces are.
private func document(_ pieces: [ArraySlice<UInt8>], _ limits: XMLLimits) -> Result<XMLTree, XMLFault> {
    let parser = XMLPushParser(limits: limits, resuming: .standalone)
    var found: XMLTree?
    var fault: XMLFault?
    for piece in pieces {
        parser.feed(Array(piece)) { event in
            check(fault == nil, "nothing comes after the end")
            switch event {
            case .element(let tree) where found == nil:
                found = tree
                return .proceed
            case .failed(let reason): fault = reason
            case .element, .opened, .closed: fault = .notWellFormed
            }
            return .stop
        }
    }
    if let fault { return .failure(fault) }
    guard let found, parser.isAtRest else { return .failure(.incomplete) }
    return .success(found)
}

private func check(_ tree: XMLTree, _ limits: XMLLimits) {
    var elements = 0
    func look(_ element: Element, _ depth: Int) {
        elements += 1
        check(depth <= limits.maxDepth, "depth is bounded")
        check(element.attributes.count <= limits.maxAttributes, "attributes are bounded")
        check(
            Set(element.attributes.map { [$0.namespace, $0.name] }).count == element.attributes.count,
            "each attribute once")
        for child in element.elements { look(child, depth + 1) }
    }
    look(tree.root.element, 1)
    check(elements <= limits.maxElements, "elements are bounded")
}

private func roundTrip(_ tree: XMLTree) {
    let element = tree.root.element
    let text = tree.description
    check(element.description == text, "a tree and a value are written alike: \(text)")
    check(XMLTree(element) == tree, "a value and a tree are the same")
    guard let again = try? XMLTree(parsing: text) else { fail("\(text) is an element") }
    check(again == tree, "\(text) reads as itself")
    check(again.description == text, "\(text) is written as it was read")

    // Within a stream, whose default namespace need not be said.
    let output = OutputBuffer()
    output.append("<stream xmlns='jabber:client'>")
    XMLWriter(output).write(tree, inheriting: .client)
    output.append("</stream>")
    guard let stream = try? XMLTree(parsing: output.description) else { fail("\(output) is an element") }
    check(stream.root.firstElement?.element == element, "\(output) has the same element in it")
    for child in tree.root.children {
        check(child.tree.root.element == child.element, "a part is a tree of its own")
    }
}

/// What a server does with a stanza: reads it, answers it, gives it to somebody else, of another namespace too.
private func asStanza(_ tree: XMLTree) {
    if Stanza.kind(of: tree) == nil { return }
    let stanza: Stanza
    do throws(StanzaError) {
        stanza = try Stanza(tree)
    } catch {
        guard let answer = Stanza.rejection(of: tree, because: error) else { return }
        check((try? XMLTree(parsing: answer.description)) != nil, "\(answer) is an element")
        return
    }
    _ = (stanza.classification, stanza.error, stanza.namespaces, stanza.payload, stanza.byteCount)
    guard let read = try? XMLTree(parsing: stanza.description) else { fail("\(stanza) is an element") }
    check(sorted(read.root.element) == sorted(stanza.element), "\(stanza) reads as itself")
    for namespace in [Namespace.client, .server] {
        let (direct, rendered) = (OutputBuffer(), OutputBuffer())
        stanza.write(into: direct, inheriting: namespace, contentNamespace: namespace)
        stanza.rendered(inheriting: namespace, contentNamespace: namespace).write(into: rendered)
        check(direct.description == rendered.description, "for one and for many are written alike")
    }
    if stanza.canBeRejected {
        let answer = stanza.reply(error: .badRequest)
        check(answer.to == stanza.from && answer.from == stanza.to, "an answer goes back")
        check((try? XMLTree(parsing: answer.description)) != nil, "\(answer) is an element")
    }
}

/// The order of attributes means nothing, and addresses are written first.
private func sorted(_ element: Element) -> Element {
    var element = element
    element.attributes.sort { ($0.namespace, $0.name) < ($1.namespace, $1.name) }
    return element
}

/// Code may put any text into an element: it is read back, but for what XML cannot say.
private func build(_ input: Input) {
    let text = String(decoding: input.body, as: UTF8.self)
    var element = Element("body", .client, ["id": text])
    element.append(Element(name: "x", namespace: "urn:example:\(text.utf8.count)"))
    element.appendText(text)
    guard let read = try? XMLTree(parsing: element.description) else { fail("\(element) is an element") }
    check(read.root.attribute("id") == sayable(text), "an attribute may have any value")
    check(read.root.text == sayable(text), "a text may be any")
}

/// Forbidden characters are replaced (XML 1.0 §2.2).
private func sayable(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
        switch scalar.value {
        case 0x09, 0x0A, 0x0D, 0x20..<0xFFFE, 0x10000...: result.append(scalar)
        default: result.append("\u{FFFD}")
        }
    }
    return String(result)
}
