import ModuleKit
import Testing

@testable import martlet

/// A config that is made to hurt: it must be refused in a moment, and nothing may trap or grow.
@Suite struct `A hostile config` {
    private func reasons(_ text: String) -> [String] {
        let report = ConfigReport(file: "m.yml")
        _ = YAMLReader.read(text, into: report)
        return report.errors.map(\.description)
    }

    @Test func `cannot grow by aliases`() {
        var text = "a0: &a0 [x, x]\n"
        for level in 1...20 {
            let items = Array(repeating: "*a\(level - 1)", count: 9).joined(separator: ", ")
            text += "a\(level): &a\(level) [\(items)]\n"
        }
        #expect(reasons(text) == ["m.yml: anchors and aliases are not supported"])
    }

    @Test func `cannot grow by aliases in keys, which the YAML reader compares itself`() {
        let text = "a0: &a0 [x, x]\na1: &a1 [*a0, *a0]\n? *a1\n: 1\n? *a1\n: 2\n"
        #expect(!reasons(text).isEmpty)
    }

    @Test func `may write stars and ampersands that are no aliases`() {
        let text =
            "text: \"\(String(repeating: "a & b, *c ", count: 100))\"\n# \(String(repeating: "* x ", count: 100))\n"
        #expect(reasons(text) == [])
    }

    @Test(arguments: ["[", "{a: ", "- ", "? ", "[{a: "]) func `cannot exhaust the stack`(_ piece: String) {
        let text = "a:\n  " + String(repeating: piece, count: 200_000)
        #expect(reasons(text).count == 1)
    }

    @Test func `is nested 32 levels at most`() {
        func nested(_ levels: Int) -> String {
            String(repeating: "{a: ", count: levels) + "1" + String(repeating: "}", count: levels)
        }
        #expect(reasons(nested(32)) == [])
        let path = Array(repeating: "a", count: 33).joined(separator: ".")
        #expect(reasons(nested(33)) == ["m.yml:1: \(path): is nested too deeply"])
        #expect(reasons(nested(900)).count == 1)
    }

    @Test func `is one mebibyte at most`() {
        #expect(reasons("a: 1\n" + String(repeating: "#", count: (1 << 20) - 5)) == [])
        #expect(reasons("a: 1\n" + String(repeating: "#", count: 1 << 20)) == ["m.yml: is larger than 1 MiB"])
    }

    @Test func `may hold thousands of unknown keys and gets no more answers than anybody reads`() {
        let text = smallest + "\n" + (0..<20_000).map { "k\($0): 1\n" }.joined()
        #expect(errors(text).count == 200)
    }

    @Test func `may repeat its keys`() {
        #expect(reasons(String(repeating: "a: 1\n", count: 1000)) == ["m.yml: has too many duplicate keys"])
        #expect(
            reasons("a: 1\nb: {c: 1, c: 2}\na: 2\n") == [
                "m.yml:2: b.c: stands here twice, first in line 2", "m.yml:3: a: stands here twice, first in line 1",
            ])
    }

    @Test func `has keys of bounded length`() {
        #expect(reasons(String(repeating: "k", count: 257) + ": 1") == ["m.yml:1: a key is longer than 256 bytes"])
    }

    @Test(arguments: [
        "\u{FEFF}a: 1", "a: 1\r\nb: 2\r\n", "\"a\": 'x''y'", "a: |\n  text\n  more\n", "%YAML 1.1\n---\na: 1\n...\n",
    ])
    func `is not what this is`(_ text: String) {
        #expect(reasons(text) == [])
    }

    @Test func `cut or changed anywhere gives errors and no trap`() {
        let text = ConfigExample.render(ConfigExample.shipped)
        var generator = SystemRandomNumberGenerator()
        let scalars = Array(text.unicodeScalars)
        for _ in 0..<150 {
            var changed = scalars
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: changed.indices, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: changed.remove(at: index)
                case 1:
                    changed.insert(
                        ["[", "{", "&", "*", "\"", ":", "\n", "\t", "#", "9", "é", "\u{0}"].randomElement()!, at: index)
                default: changed.swapAt(index, Int.random(in: changed.indices, using: &generator))
                }
            }
            var string = String.UnicodeScalarView()
            string.append(contentsOf: changed)
            _ = errors(String(string))
        }
    }
}
