import XML

/// What a parser reported, in a form that can be compared.
enum Seen: Equatable, CustomStringConvertible {
    case opened(String)
    case element(Element)
    case closed
    case failed(XMLFault)

    init(_ event: XMLEvent) {
        switch event {
        case .opened(let root): self = .opened(root.element.description)
        case .element(let tree): self = .element(tree.root.element)
        case .closed: self = .closed
        case .failed(let fault): self = .failed(fault)
        }
    }

    var description: String {
        switch self {
        case .opened(let root): "opened \(root)"
        case .element(let element): "element \(element)"
        case .closed: "closed"
        case .failed(let fault): "failed \(fault)"
        }
    }
}

let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org'>"

/// Everything that `text` makes a new parser say, cut into pieces of `size` bytes.
func events(_ bytes: [UInt8], in size: Int = .max, limits: XMLLimits = .authenticated) -> [Seen] {
    let parser = XMLPushParser(limits: limits)
    return feed(bytes, to: parser, in: size)
}

func events(_ text: String, in size: Int = .max, limits: XMLLimits = .authenticated) -> [Seen] {
    events(Array(text.utf8), in: size, limits: limits)
}

/// The same behind a stream header, which is left out of the answer.
func streamed(_ text: String, in size: Int = .max, limits: XMLLimits = .authenticated) -> [Seen] {
    Array(events(header + text, in: size, limits: limits).dropFirst())
}

func streamed(_ bytes: [UInt8], in size: Int = .max, limits: XMLLimits = .authenticated) -> [Seen] {
    Array(events(Array(header.utf8) + bytes, in: size, limits: limits).dropFirst())
}

func feed(_ bytes: [UInt8], to parser: XMLPushParser, in size: Int = .max) -> [Seen] {
    var seen: [Seen] = []
    var start = 0
    while start < bytes.count {
        let end = size < bytes.count - start ? start + size : bytes.count
        parser.feed(Array(bytes[start..<end])) { event in
            seen.append(Seen(event))
            return .proceed
        }
        start = end
    }
    return seen
}

/// Random numbers that are the same in every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// An element of random shape: namespaces known and unknown, prefixed attributes, and text that needs escaping.
func randomElement(_ random: inout SeededGenerator, depth: Int = 0, parent: String = "jabber:client") -> Element {
    let namespaces = [
        parent, parent, parent, "jabber:client", "urn:xmpp:sid:0", "urn:unknown:a", "urn:unknown:'&\u{E9}", "",
        "http://www.w3.org/XML/1998/namespace",
    ]
    let names = ["message", "body", "x", "_", "a-b.c", "\u{E9}t\u{E9}", "\u{4E2D}\u{6587}"]
    var element = Element(
        name: names.randomElement(using: &random) ?? "x", namespace: namespaces.randomElement(using: &random) ?? "")
    for _ in 0..<Int.random(in: 0...4, using: &random) {
        let attribute = Attribute(
            ["to", "id", "lang", "x", "\u{E9}"].randomElement(using: &random) ?? "x", randomText(&random),
            namespace: ["", "", "", "urn:unknown:a", "urn:b", namespaces[8]].randomElement(using: &random) ?? "")
        if !element.attributes.contains(where: { $0.name == attribute.name && $0.namespace == attribute.namespace }) {
            element.attributes.append(attribute)
        }
    }
    for _ in 0..<Int.random(in: 0...(depth > 4 ? 0 : 3), using: &random) {
        if Bool.random(using: &random) {
            element.appendText(randomText(&random))
        } else {
            element.append(randomElement(&random, depth: depth + 1, parent: element.namespace))
        }
    }
    return element
}

func randomText(_ random: inout SeededGenerator) -> String {
    let pieces = [
        "<", ">", "&", "'", "\"", "\t", "\n", "\r", "\r\n", "]]>", "a", "plain words that are longer than a block ",
        "\u{E9}", "\u{20AC}", "\u{1F600}", "\u{FF21}", "&lt;", "<![CDATA[", " ", "\u{85}", "\u{2028}", "0123456789:;=?",
    ]
    var text = ""
    for _ in 0..<Int.random(in: 0...8, using: &random) { text += pieces.randomElement(using: &random) ?? "" }
    return text
}
