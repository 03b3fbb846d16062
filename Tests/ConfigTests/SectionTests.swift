import ModuleKit
import Testing

@testable import martlet

@Suite struct `A section` {
    static let durations: [(String, Duration)] = [
        ("0s", .zero), ("1ms", .milliseconds(1)), ("500ms", .milliseconds(500)), ("30s", .seconds(30)),
        ("10m", .seconds(600)), ("1h", .seconds(3600)), ("90d", .seconds(90 * 86_400)), ("2w", .seconds(14 * 86_400)),
        ("1h30m", .seconds(5400)), ("1d12h30m15s250ms", .milliseconds(131_415_250)),
    ]

    @Test(arguments: durations) func `reads a time`(_ text: String, _ expected: Duration) {
        var sample = Sample("time: \(text)")
        let time = sample.section.duration("time", default: .seconds(77), in: .zero..., "")
        #expect(time == expected)
        #expect(sample.errors == [])
    }

    @Test(arguments: [
        "5", "s", "1x", "1.5s", "-1s", "1s2m", "1s1s", "1 s", "1S", "1h 30m", "\"1s\"", "99999999999999999999s",
    ])
    func `refuses a time that is none`(_ text: String) {
        var sample = Sample("time: \(text)")
        #expect(sample.section.duration("time", default: .seconds(77), in: .zero..., "") == .seconds(77))
        #expect(sample.errors.count == 1)
    }

    static let sizes: [(String, Int)] = [
        ("0", 0), ("1", 1), ("4096", 4096), ("1KiB", 1024), ("256KiB", 262_144), ("4MiB", 4_194_304),
        ("1GiB", 1_073_741_824), ("2 MiB", 2_097_152),
    ]

    @Test(arguments: sizes) func `reads a size`(_ text: String, _ expected: Int) {
        var sample = Sample("size: \(text)")
        #expect(sample.section.bytes("size", default: 7, in: 0..., "") == expected)
        #expect(sample.errors == [])
    }

    @Test(arguments: ["1K", "1KB", "1kib", "KiB", "-1", "1.5KiB", "0x10", "1_000", "\"1KiB\"", "8589934592GiB"])
    func `refuses a size that is none`(_ text: String) {
        var sample = Sample("size: \(text)")
        #expect(sample.section.bytes("size", default: 7, in: 0..., "") == 7)
        #expect(sample.errors.count == 1)
    }

    @Test(arguments: [("true", true), ("false", false)]) func `reads a switch`(_ text: String, _ expected: Bool) {
        var sample = Sample("on: \(text)")
        #expect(sample.section.bool("on", default: !expected, "") == expected)
        #expect(sample.errors == [])
    }

    @Test(arguments: ["yes", "no", "on", "True", "1", "\"true\""]) func `refuses a switch in other words`(
        _ text: String
    ) {
        var sample = Sample("on: \(text)")
        #expect(sample.section.bool("on", default: true, "") == true)
        let shown = text.filter { $0 != "\"" }
        #expect(sample.errors == ["sample.yml:1: on: expected true or false, found \"\(shown)\""])
    }

    @Test func `gives nil for what the file does not say`() {
        var sample = Sample("a: 1")
        #expect(sample.section.int("a", in: 0...9, "") == 1)
        #expect(sample.section.int("b", in: 0...9, "") == nil)
        #expect(sample.section.duration("c", in: .zero ... .days(1), "") == nil)
        #expect(sample.section.bytes("d", in: 0...9, "") == nil)
        #expect(sample.section.string("e", "") == nil)
        #expect(sample.errors == [])
    }

    @Test func `reads lists of texts and of sections`() {
        var sample = Sample("names: [a, b]\nparts:\n  - {n: 1}\n  - {n: 2}")
        #expect(sample.section.strings("names", "") == ["a", "b"])
        var parts = sample.section.sections("parts", "")
        let numbers = parts.indices.map { parts[$0].int("n", default: 0, in: 0...9, "") }
        #expect(numbers == [1, 2])
        #expect(sample.section.strings("others", default: ["x"], "") == ["x"])
        #expect(sample.errors == [])
    }

    @Test func `bounds its lists`() {
        var sample = Sample("names: [a, b, c]\nparts: [{}, {}, {}]")
        #expect(sample.section.strings("names", most: 2, "") == [])
        #expect(sample.section.sections("parts", most: 2, "").isEmpty)
        #expect(
            sample.errors == [
                "sample.yml:1: names: has 3 items, at most 2 are allowed",
                "sample.yml:2: parts: has 3 items, at most 2 are allowed",
            ])
    }

    @Test func `knows its place in the file`() {
        var sample = Sample("\na:\n  b:\n    c: x")
        var a = sample.section.section("a")
        var b = a.section("b")
        #expect((a.line, a.path) == (2, "a"))
        #expect((b.line, b.path) == (3, "a.b"))
        b.error("c", "is odd")
        b.warn("c", "is strange")
        _ = b.string("c", "")
        #expect(sample.errors == ["sample.yml:4: a.b.c: is odd"])
        #expect(sample.report.warnings.map(\.description) == ["sample.yml:4: a.b.c: is strange"])
    }

    @Test(arguments: [
        ("limt", "limit"), ("expirey", "expiry"), ("lmiit", "limit"), ("LIMIT", nil), ("foo", nil), ("pot", "port"),
    ]) func `suggests the key that was meant`(_ typed: String, _ meant: String?) {
        #expect(["limit", "expiry", "port"].nearest(to: typed) == meant)
    }

    @Test func `describes its options by the lines that read them`() {
        let report = ConfigReport()
        var section = report.describingSection(path: "modules.box")
        _ = BoxOptions(from: &section)
        #expect(
            report.descriptions == [
                OptionDescription(
                    path: "modules.box.limit", kind: "number", defaultValue: "200", isRequired: false,
                    range: "1...10000", documentation: "Most messages kept per account."),
                OptionDescription(
                    path: "modules.box.expiry", kind: "duration", defaultValue: "90d", isRequired: false,
                    range: "at least 1h", documentation: "Older ones are dropped."),
            ])
        #expect(throws: Never.self) { try report.finish() }
    }
}
