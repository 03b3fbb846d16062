import Testing
import XMPPCore

/// An address as it arrives, and its canonical form; nil: not an address.
struct AddressVector: Sendable, CustomTestStringConvertible {
    var input: String
    var canonical: String?

    init(_ input: String, _ canonical: String?) {
        self.input = input
        self.canonical = canonical
    }

    var testDescription: String { input.debugDescription }
}

@Suite struct AddressTests {
    static let vectors: [AddressVector] = [
        // Plain
        AddressVector("romeo@example.net/balcony", "romeo@example.net/balcony"),
        AddressVector("ROMEO@Example.NET/Balcony", "romeo@example.net/Balcony"),
        AddressVector("example.net", "example.net"),
        AddressVector("example.net/service", "example.net/service"),
        AddressVector("localhost", "localhost"),
        AddressVector("a.b-c.9@h-1.example", "a.b-c.9@h-1.example"),
        AddressVector("d!#$%*+,-.;=?^_`{|}~@example.net", "d!#$%*+,-.;=?^_`{|}~@example.net"),
        // ß is a letter of its own: lower-casing, not folding
        AddressVector("Stra\u{DF}e@example.net", "stra\u{DF}e@example.net"),
        AddressVector("STRA\u{1E9E}E@example.net", "stra\u{DF}e@example.net"),
        AddressVector("a@fa\u{DF}.example", "a@fa\u{DF}.example"),
        AddressVector("a@xn--fa-hia.example", "a@fa\u{DF}.example"),
        // Final sigma depends on what stands around it
        AddressVector("\u{3A3}@example.net", "\u{3C3}@example.net"),
        AddressVector("\u{391}\u{3A3}@example.net", "\u{3B1}\u{3C2}@example.net"),
        AddressVector("\u{391}\u{3A3}\u{391}@example.net", "\u{3B1}\u{3C3}\u{3B1}@example.net"),
        AddressVector("\u{3C2}@example.net", "\u{3C2}@example.net"),
        AddressVector("a@\u{3C2}.example", "a@\u{3C2}.example"),
        AddressVector("a@\u{3A3}.example", "a@\u{3C3}.example"),
        // The dot of İ stays, whatever the locale of the process is
        AddressVector("\u{130}@example.net", "i\u{307}@example.net"),
        AddressVector("I@example.net", "i@example.net"),
        AddressVector("\u{131}@example.net", "\u{131}@example.net"),
        // Full-width and half-width
        AddressVector("\u{FF32}\u{FF4F}\u{FF4D}\u{FF45}\u{FF4F}@example.net", "romeo@example.net"),
        AddressVector("\u{FF8A}\u{FF9E}@example.net", "\u{30D0}@example.net"),
        AddressVector("a@\u{FF25}xample\u{FF0E}net", "a@example.net"),
        AddressVector("a@example\u{3002}net", "a@example.net"),
        AddressVector("foo\u{FF1A}bar@example.net", nil),
        AddressVector("foo\u{FF20}bar@example.net", nil),
        AddressVector("foo\u{3000}bar@example.net", nil),
        // Combining characters
        AddressVector("e\u{301}@example.net", "\u{E9}@example.net"),
        AddressVector("E\u{301}@example.net", "\u{E9}@example.net"),
        AddressVector("a@mu\u{308}nchen.example", "a@m\u{FC}nchen.example"),
        AddressVector("a@M\u{DC}NCHEN.example", "a@m\u{FC}nchen.example"),
        AddressVector("a@XN--MNCHEN-3YA.example", "a@m\u{FC}nchen.example"),
        AddressVector("a@example.net/e\u{301}", "a@example.net/\u{E9}"),
        AddressVector("a@\u{301}e.example", nil),
        // Compatibility characters: no name may look like another
        AddressVector("\u{FB01}x@example.net", nil),
        AddressVector("henry\u{2163}@example.net", nil),
        AddressVector("\u{212A}elvin@example.net", nil),
        AddressVector("\u{17F}@example.net", nil),
        AddressVector("\u{265A}@example.net", nil),
        AddressVector("\u{1F600}@example.net", nil),
        AddressVector("a@example.net/\u{FB01}", "a@example.net/\u{FB01}"),
        AddressVector("a@example.net/\u{265A} \u{1F600}", "a@example.net/\u{265A} \u{1F600}"),
        // Characters in context
        AddressVector("l\u{B7}l@example.net", "l\u{B7}l@example.net"),
        AddressVector("a\u{B7}l@example.net", nil),
        AddressVector("\u{30AB}\u{30FB}@example.net", "\u{30AB}\u{30FB}@example.net"),
        AddressVector("a\u{30FB}@example.net", nil),
        AddressVector("\u{375}\u{3B1}@example.net", "\u{375}\u{3B1}@example.net"),
        AddressVector("\u{5D0}\u{5F3}@example.net", "\u{5D0}\u{5F3}@example.net"),
        AddressVector("\u{915}\u{94D}\u{200D}@example.net", "\u{915}\u{94D}\u{200D}@example.net"),
        AddressVector("a\u{200D}b@example.net", nil),
        AddressVector("\u{628}\u{200C}\u{628}@example.net", "\u{628}\u{200C}\u{628}@example.net"),
        AddressVector("a\u{200C}b@example.net", nil),
        AddressVector("\u{627}\u{661}\u{6F1}@example.net", nil),
        // Directions
        AddressVector("\u{5D0}\u{5D1}@example.net", "\u{5D0}\u{5D1}@example.net"),
        AddressVector("\u{5D0}1@example.net", "\u{5D0}1@example.net"),
        AddressVector("1\u{5D0}@example.net", nil),
        AddressVector("a\u{5D0}@example.net", nil),
        AddressVector("\u{5D0}a@example.net", nil),
        AddressVector("\u{627}1\u{661}@example.net", nil),
        AddressVector("a@\u{5D0}\u{5D1}.example", "a@\u{5D0}\u{5D1}.example"),
        AddressVector("a@1.\u{5D0}\u{5D1}", nil),
        AddressVector("a@example.net/\u{5D0}a", "a@example.net/\u{5D0}a"),
    ]

    @Test(arguments: vectors)
    func `every form of an address has one canonical form`(_ vector: AddressVector) {
        let address = JID(vector.input)
        // Compared byte by byte: Swift takes canonically equivalent strings for equal.
        #expect(address.map { Array($0.description.utf8) } == vector.canonical.map { Array($0.utf8) })
        if let address { #expect(JID(address.description) == address) }
    }

    /// What BAD-INPUTS 21 lists.
    static let hostile: [AddressVector] = [
        AddressVector("", nil), AddressVector("@", nil), AddressVector("/", nil), AddressVector("@example.net", nil),
        AddressVector("romeo@", nil), AddressVector("romeo@/balcony", nil), AddressVector("romeo@example.net/", nil),
        AddressVector("example.net/", nil), AddressVector("/balcony", nil),
        AddressVector("romeo@juliet@example.net", nil),
        AddressVector("romeo@example.net/a/b@c", "romeo@example.net/a/b@c"),
        AddressVector("example.net/a@b", "example.net/a@b"),
        AddressVector("romeo\0@example.net", nil), AddressVector("romeo@example.net\0", nil),
        AddressVector("romeo@example.net/\0", nil), AddressVector("romeo@example.net/a\u{7F}", nil),
        AddressVector("romeo@example.net/a\nb", nil), AddressVector("ro meo@example.net", nil),
        AddressVector("romeo@example.net/a\u{202E}b", nil), AddressVector("ro\u{202E}meo@example.net", nil),
        AddressVector("ro\u{200B}meo@example.net", nil), AddressVector("romeo@exam\u{AD}ple.net", "romeo@example.net"),
        AddressVector("romeo@exa mple.net", nil), AddressVector("romeo@example_net", nil),
        AddressVector("romeo@-example.net", nil), AddressVector("romeo@example-.net", nil),
        AddressVector("romeo@ex--ample.net", nil), AddressVector("romeo@*.net", nil),
        AddressVector("romeo@example.net.", "romeo@example.net"), AddressVector("romeo@example.net..", nil),
        AddressVector("romeo@example\u{3002}net\u{3002}", "romeo@example.net"),
        AddressVector("romeo@example.net.\u{3002}", nil), AddressVector("romeo@example\u{3002}net\u{3002}.", nil),
        AddressVector("romeo@.example.net", nil), AddressVector("romeo@example..net", nil),
        AddressVector("romeo@.", nil), AddressVector("romeo@\u{3002}", nil),
        AddressVector("romeo@xn--", nil), AddressVector("romeo@xn--a", nil), AddressVector("romeo@xn--zzzzzz", nil),
        AddressVector("romeo@xn--example", nil), AddressVector("romeo@\u{2615}.example", nil),
        // An A-label that hides upper case, or plain ASCII.
        AddressVector("romeo@xn--example-", nil), AddressVector("romeo@xn--MNCHEN-Z3A", nil),
        AddressVector("romeo@[::1]", "romeo@[::1]"), AddressVector("[2001:DB8:0:0:0::1]/x", "[2001:db8::1]/x"),
        AddressVector("romeo@[::1", nil), AddressVector("romeo@::1", nil), AddressVector("romeo@[::1]]", nil),
        AddressVector("romeo@[::1]x", nil), AddressVector("romeo@[127.0.0.1]", nil),
        AddressVector("romeo@[fe80::1%25lo]", nil), AddressVector("romeo@[]", nil),
        AddressVector("romeo@192.0.2.1", "romeo@192.0.2.1"),
        AddressVector("a\"b@example.net", nil), AddressVector("a&b@example.net", nil),
        AddressVector("a'b@example.net", nil), AddressVector("a:b@example.net", nil),
        AddressVector("a<b@example.net", nil), AddressVector("a>b@example.net", nil),
        AddressVector("romeo@example.net/<a href='x'>&\"", "romeo@example.net/<a href='x'>&\""),
    ]

    @Test(arguments: hostile)
    func `BAD-INPUTS 21: what is not an address is none, and the rest is canonical`(_ vector: AddressVector) {
        let address = JID(vector.input)
        #expect(address.map { Array($0.description.utf8) } == vector.canonical.map { Array($0.utf8) })
        if let address { #expect(JID(address.description) == address) }
    }

    @Test func `BAD-INPUTS 21: parts may have 1,023 bytes and not one more`() {
        let long = String(repeating: "a", count: 1023)
        let name = Array(repeating: String(repeating: "d", count: 63), count: 16).joined(separator: ".")
        #expect(name.utf8.count == 1023)
        let address = JID("\(long)@\(name)/\(long)")
        #expect(address?.local == long)
        #expect(address?.domain == name)
        #expect(address?.resource == long)
        #expect(JID("\(long)a@example.net") == nil)
        #expect(JID("example.net/\(long)a") == nil)
        #expect(JID("a@d.\(name)") == nil)
        #expect(JID("a@\(String(repeating: "d", count: 64)).net") == nil)
    }

    @Test func `BAD-INPUTS 21: the limit holds for what comes out, not for what goes in`() {
        let wide = String(repeating: "\u{FF41}", count: 1023)
        #expect(JID("\(wide)@example.net")?.local == String(repeating: "a", count: 1023))
        #expect(JID("\(wide)\u{FF41}@example.net") == nil)
        // İ takes two bytes and becomes three.
        #expect(JID("\(String(repeating: "\u{130}", count: 341))@example.net")?.local.utf8.count == 1023)
        #expect(JID("\(String(repeating: "\u{130}", count: 342))@example.net") == nil)
        #expect(JID("example.net/\(String(repeating: "\u{20AC}", count: 341))")?.resource.utf8.count == 1023)
        #expect(JID("example.net/\(String(repeating: "\u{20AC}", count: 342))") == nil)
        #expect(JID(String(repeating: "a", count: 1 << 20)) == nil)
        #expect(JID("a@example.net/" + String(repeating: "\u{E9}", count: 1 << 20)) == nil)
    }

    @Test(
        arguments: [
            [0xC0, 0xAF], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xFF], [0x80], [0xE2, 0x82], [0xC3],
            [0xEF, 0xBF, 0xBE], [0xC2, 0x80],
        ] as [[UInt8]])
    func `bytes that are not text are not an address`(_ bytes: [UInt8]) {
        for address in [bytes + Array("@x".utf8), Array("a@".utf8) + bytes, Array("a@x/".utf8) + bytes] {
            #expect(address.withUnsafeBufferPointer { JID(utf8: $0) } == nil)
        }
    }

    @Test func `spaces in a resource become the one of ASCII and stay where they are`() {
        #expect(JID("a@example.net/ b\u{A0}\u{2003}c ")?.resource == " b  c ")
    }

    @Test func `equal addresses are equal and hash alike, whichever objects they are`() throws {
        let one = try #require(JID("Romeo@EXAMPLE.net/x"))
        let other = try #require(JID("romeo@example.net/x"))
        #expect(one == other)
        #expect(one.bare !== other.bare)
        #expect(Set([one, other]).count == 1)
        #expect(Set([one.bare, other.bare]).count == 1)
        #expect(one != JID("romeo@example.net/X"))
        #expect(BareJID("romeo@example.net/x") == nil)
        #expect(BareJID(local: "ROMEO", domain: "Example.net.") == one.bare)
        #expect(BareJID.domain("Example.net")?.description == "example.net")
        #expect(JID(one.bare).isBare)
        #expect(JID("example.net")?.isDomain == true)
        #expect(JID("example.net/x")?.isDomain == false)
    }

    @Test func `an address costs 24 bytes beside the one it shares`() {
        #expect(MemoryLayout<JID>.size == 24)
    }

    @Test func `an address in an attribute is escaped`() throws {
        let address = try #require(JID("romeo@example.net/<'&\">"))
        let output = OutputBuffer()
        address.write(escaped: output)
        let text = output.withBytes { String(decoding: $0, as: UTF8.self) }
        #expect(text.hasPrefix("romeo@example.net/"))
        #expect(!text.contains { "<'\"".contains($0) })
    }

    @Test func `whatever comes in, the canonical form is its own canonical form`() {
        var generator = SplitMix(state: 22)
        let alphabet =
            Array("aAzZ09.-@/: \u{DF}\u{1E9E}\u{130}\u{3A3}\u{3C2}\u{FF21}\u{301}\u{5D0}\u{661}\u{200D}".unicodeScalars)
            + [0x3002, 0xFF0E, 0x1F9, 0x1100, 0xAC00, 0x10400, 0x1E900, 0x2F, 0x345, 0x37A].compactMap(
                Unicode.Scalar.init)
        var accepted = 0
        for _ in 0..<20_000 {
            var text = String.UnicodeScalarView()
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                let wild = Unicode.Scalar(UInt32.random(in: 0...0x10FFFF, using: &generator))
                let known = alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
                text.append(Bool.random(using: &generator) ? known : wild ?? known)
            }
            for string in ["\(String(text))@example.net", "a@\(String(text))", "a@b/\(String(text))", String(text)] {
                guard let address = JID(string) else { continue }
                accepted += 1
                #expect(JID(address.description) == address, "\(string.debugDescription)")
                #expect(JID(address.description)?.description.utf8.elementsEqual(address.description.utf8) == true)
            }
        }
        #expect(accepted > 1000)
    }

    @Test func `random bytes never stop the process`() {
        var generator = SplitMix(state: 7)
        for _ in 0..<20_000 {
            let count = Int.random(in: 0...24, using: &generator)
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
            let parsed = bytes.withUnsafeBufferPointer { JID(utf8: $0) }
            if let parsed { #expect(JID(parsed.description) == parsed) }
        }
    }

    @Test func `a text may be an address or its name in another spelling`() throws {
        let address = try #require(BareJID("jürgen@example.org"))
        for text in ["jürgen", "JÜRGEN", "ju\u{308}rgen", "Jürgen@EXAMPLE.org"] { #expect(address.isSpelled(by: text)) }
        for text in [
            "", "jurgen", "jürgen ", "@example.org", "example.org", "jürgen@example.org/x", "jürgen@example.com",
        ] {
            #expect(!address.isSpelled(by: text), "\(text)")
        }
        #expect(try !#require(BareJID("example.org")).isSpelled(by: "example.org"))
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
