import Testing
import XML

@Suite struct LimitTests {
    private let small = XMLLimits(
        maxElementBytes: 1000, maxTokenBytes: 500, maxWhitespaceBytes: 100, maxDepth: 4, maxAttributes: 5,
        maxElements: 10)

    private func fault(_ text: String, in size: Int = .max) -> XMLFault? {
        guard case .failed(let fault) = events(header + text, in: size, limits: small).last else { return nil }
        return fault
    }

    @Test(arguments: [Int.max, 1, 64])
    func `BAD-INPUTS 5: every dimension has its limit`(size: Int) {
        let long = String(repeating: "x", count: 1000)
        #expect(fault("<a>\(long)</a>", in: size) == .tooLarge(.element))
        #expect(fault("<a>" + long + long, in: size) == .tooLarge(.element))
        #expect(fault("<a b='\(long)'/>", in: size) == .tooLarge(.token))
        #expect(fault("<\(long)/>", in: size) == .tooLarge(.token))
        #expect(fault("<a b='\(long)", in: size) == .tooLarge(.token))
        #expect(fault("<a></a\(String(repeating: " ", count: 1000))", in: size) == .tooLarge(.token))
        #expect(fault("<a><b><c><d/></c></b></a>", in: size) == nil)
        #expect(fault("<a><b><c><d><e>", in: size) == .tooLarge(.depth))
        #expect(fault("<a b='' c='' d='' e='' f=''/>", in: size) == nil)
        #expect(fault("<a b='' c='' d='' e='' f='' g=''/>", in: size) == .tooLarge(.attributes))
        #expect(fault("<a>" + String(repeating: "<b/>", count: 9) + "</a>", in: size) == nil)
        #expect(fault("<a>" + String(repeating: "<b/>", count: 10), in: size) == .tooLarge(.elements))
        #expect(
            fault(String(repeating: " ", count: 100) + "<a/>" + String(repeating: "\n", count: 100), in: size) == nil)
        #expect(fault("<a/>" + String(repeating: " ", count: 101), in: size) == .tooLarge(.whitespace))
        #expect(fault("<a>&#" + String(repeating: "0", count: 200), in: size) == .tooLarge(.token))
    }

    @Test func `BAD-INPUTS 5: a stanza of exactly the limit passes, one byte more does not, however it is cut`() {
        for size in [Int.max, 1, 7] {
            let text = String(repeating: "x", count: 1000 - 7)
            #expect(streamed("<a>\(text)</a>", in: size, limits: small).count == 1)
            #expect(fault("<a>\(text)</a>", in: size) == nil)
            #expect(fault("<a>x\(text)</a>", in: size) == .tooLarge(.element))
        }
    }

    @Test func `BAD-INPUTS 5: white space before the header is bounded`() {
        #expect(
            events(String(repeating: " ", count: 101), in: 1, limits: small).last == .failed(.tooLarge(.whitespace)))
        let header = "<?xml version='1.0'?>" + String(repeating: " ", count: 2000)
        #expect(events(header, in: 1, limits: small).last == .failed(.tooLarge(.element)))
    }

    @Test func `BAD-INPUTS 5: a token of ten megabytes, byte by byte, ends at its limit in no time`() {
        let parser = XMLPushParser()
        _ = feed(Array((header + "<a b='").utf8), to: parser)
        var count = 0
        var failed = false
        while !failed, count < 10_000_000 {
            count += 1
            parser.feed([UInt8(ascii: ">")]) { event in
                failed = true
                return .proceed
            }
        }
        #expect(count <= 32 * 1024)
    }

    @Test func `BAD-INPUTS 5: a long token in single bytes costs linear time`() {
        // 30,000 bytes: read anew with each byte these are 450 million steps.
        let clock = ContinuousClock()
        let text = "<a b='" + String(repeating: ">", count: 30_000) + "'/>"
        let whole = clock.measure { #expect(streamed(text).count == 1) }
        let single = clock.measure { #expect(streamed(text, in: 1).count == 1) }
        #expect(single < max(whole * 2000, .milliseconds(150)))
    }

    @Test func `BAD-INPUTS 5: a container that is never closed ends, with the limit in children or in bytes`() {
        let parser = XMLPushParser()
        _ = feed(Array((header + "<a>").utf8), to: parser)
        var rounds = 0
        var last: Seen?
        while last == nil, rounds < 1_000_000 {
            rounds += 1
            last = feed(Array("<b/>".utf8), to: parser).last
        }
        #expect(last == .failed(.tooLarge(.elements)))
    }

    @Test func `BAD-INPUTS 5: a depth of a hundred thousand is not reached`() {
        #expect(streamed(String(repeating: "<a>", count: 100_000)).last == .failed(.tooLarge(.depth)))
        let limits = XMLLimits(maxDepth: .max)
        #expect(streamed(String(repeating: "<a>", count: 100_000), limits: limits).last == .failed(.tooLarge(.depth)))
        let deep = String(repeating: "<a>", count: 500) + String(repeating: "</a>", count: 500)
        guard case .element(let element) = streamed(deep, limits: limits).last else {
            Issue.record("not read")
            return
        }
        #expect(XMLTree(element).root.element == element)
    }

    @Test func `BAD-INPUTS 5: a million attributes and a name of a megabyte are not read`() {
        let attributes = (0..<1_000_000).map { " a\($0)=''" }.joined()
        #expect(streamed("<a" + attributes + "/>").last == .failed(.tooLarge(.token)))
        #expect(streamed("<" + String(repeating: "n", count: 1_000_000) + "/>").last == .failed(.tooLarge(.token)))
        #expect(streamed("<" + String(repeating: "n", count: 2000) + "/>").last == .failed(.tooLarge(.name)))
        #expect(streamed("<a " + String(repeating: "n", count: 2000) + "=''/>").last == .failed(.tooLarge(.name)))
    }

    @Test func `BAD-INPUTS 4: a long namespace used often does not multiply`() {
        let uri = String(repeating: "u", count: 1000)
        let many = String(repeating: "<p:b/>", count: 200)
        let parser = XMLPushParser()
        _ = feed(Array(header.utf8), to: parser)
        var bytes = 0
        parser.feed(Array("<a xmlns:p='\(uri)'>\(many)</a>".utf8)) { event in
            if case .element(let tree) = event { bytes = tree.byteCount }
            return .proceed
        }
        #expect(bytes > 0 && bytes < 200 * 18 + 2000)
        // Written without prefixes it would be larger than what came.
        let more = String(repeating: "<p:b/>", count: 5000)
        #expect(streamed("<a xmlns:p='\(uri)'>\(more)</a>").last == .failed(.tooLarge(.namespaces)))
        #expect(streamed("<a xmlns='\(uri + uri)'/>").last == .failed(.tooLarge(.name)))
        let different = (0..<300).map { "<a xmlns='urn:n:\($0)'/>" }.joined()
        #expect(streamed("<a>\(different)</a>").last == .failed(.tooLarge(.namespaces)))
    }
}
