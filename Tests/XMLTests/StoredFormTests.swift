import Testing
import XML

/// What the limits of a stream let in is read again when this server has written it, whatever its form: a stored form is
/// longer than the one that came.
@Suite struct StoredFormTests {
    /// As the config allows them: the default ones, larger ones, and the largest depth and number of attributes.
    private static let limits = [
        XMLLimits.authenticated,
        XMLLimits(maxElementBytes: 1 << 20, maxTokenBytes: 128 << 10),
        XMLLimits(
            maxElementBytes: 256 << 10, maxTokenBytes: 128 << 10, maxDepth: 512, maxAttributes: 10_000,
            maxElements: 1_000_000),
    ]

    private static let escaped = [">", "'", "\"", "&amp;", "&lt;", "&#13;", "\u{E9}", "a"]

    /// Stanzas that fill one dimension each, up to its limit or a little over it.
    private func stanza(_ limits: XMLLimits, _ random: inout SeededGenerator) -> String {
        let size = Int(limits.maxElementBytes) - 100 + Int.random(in: -300...120, using: &random)
        let token = Int(limits.maxTokenBytes) - 40 + Int.random(in: -60...60, using: &random)
        let character = Self.escaped.randomElement(using: &random) ?? ">"
        func text(_ bytes: Int) -> String { String(repeating: character, count: max(0, bytes / character.utf8.count)) }
        switch Int.random(in: 0..<7, using: &random) {
        case 0: return "<message><body>\(text(size))</body></message>"
        case 1:
            let html = String(repeating: "<b>&amp;</b>", count: size / 12)
            return "<message><body><![CDATA[\(html)]]></body></message>"
        case 2:
            let quote = character == "'" ? "\"" : "'"
            return "<message><x a=\(quote)\(text(token))\(quote)/></message>"
        case 3:
            let count = min(Int(limits.maxAttributes), token / 16) - 1 + Int.random(in: 0...2, using: &random)
            let attributes = (0..<count).map { "a\($0)=\"'\"" }.joined(separator: " ")
            return "<message \(attributes)><body>x</body></message>"
        case 4:
            let count = min(Int(limits.maxElements), size / 4) - 3 + Int.random(in: 0...3, using: &random)
            return "<message><p:x xmlns:p='urn:p'>\(String(repeating: "<x/>", count: max(0, count)))</p:x></message>"
        case 5:
            let depth = Int(limits.maxDepth) - 2 + Int.random(in: 0...3, using: &random)
            let inside = String(repeating: "<x>", count: depth) + String(repeating: "</x>", count: depth)
            return "<message>\(inside)</message>"
        default:
            let long = text(Int.random(in: 1...1000, using: &random)).replacing("'", with: "&apos;")
            let count = Int.random(in: 1...2000, using: &random)
            let inside = String(repeating: "<p:x p:a='\"'><x/></p:x>", count: count)
            return "<message xmlns:p='urn:\(long)'>\(inside)</message>"
        }
    }

    @Test func `what the limits let in is read again in its stored form`() throws {
        var random = SeededGenerator(86)
        var accepted = 0
        let reader = XMLDocumentReader()
        for number in 0..<90 {
            let limits = Self.limits[number % Self.limits.count]
            let parser = XMLPushParser(limits: limits)
            parser.feed(Array(header.utf8)) { _ in .proceed }
            var found: XMLTree?
            parser.feed(Array(stanza(limits, &random).utf8)) { event in
                if case .element(let tree) = event { found = tree }
                return .proceed
            }
            guard let tree = found else { continue }
            accepted += 1
            let output = OutputBuffer()
            XMLWriter(output).write(tree)
            let read = try output.withBytes { try reader.read($0) }
            #expect(read.root.element == tree.root.element)
        }
        #expect(accepted > 45)
    }

    @Test func `a stanza that prefixes would make huge is refused, and one of many prefixes is not`() {
        let long = "urn:" + String(repeating: "a", count: 1000)
        func stanza(_ count: Int) -> String {
            "<message xmlns:p='\(long)'>" + String(repeating: "<p:x><x/></p:x>", count: count) + "</message>"
        }
        #expect(streamed(stanza(4000)) == [.failed(.tooLarge(.namespaces))])
        #expect(streamed(stanza(200)).count == 1)
        let languages = "<message>\(String(repeating: "<x xml:lang='e'/>", count: 8000))</message>"
        guard case .element = streamed(languages).first else { return #expect(Bool(false), "refused") }
    }

    @Test func `bytes that are nobody's stanza are a fault however many they are`() {
        let reader = XMLDocumentReader()
        for bytes in [[UInt8](repeating: 0x3C, count: 300_000), [UInt8](repeating: 0, count: 300_000)] {
            #expect(throws: XMLFault.self) { try bytes.withUnsafeBytes { try reader.read($0) } }
        }
    }
}
