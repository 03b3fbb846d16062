import Foundation
import Logging
import ModuleKit
import Synchronization
import Testing
import XMPPServer

@testable import martlet

@Suite struct `A log line` {
    /// What a logger of this format writes.
    private func lines(_ format: LogConfig.Format, _ body: (Logger) -> Void) -> [String] {
        let written = Mutex<[String]>([])
        let handler = LineLogHandler(
            level: .debug, format: format, now: { Timestamp(milliseconds: 1_792_000_000_123) }
        ) { bytes in
            written.withLock { $0.append(String(decoding: bytes, as: UTF8.self)) }
        }
        body(Logger(label: "test") { _ in handler })
        return written.withLock { $0 }
    }

    private func logfmt(_ metadata: Logger.Metadata) -> String {
        let line = lines(.logfmt) { $0.info("x", metadata: metadata) }.first ?? ""
        let head = "time=2026-10-14T17:46:40.123Z level=info event=x "
        #expect(line.hasPrefix(head))
        #expect(line.hasSuffix("\n"))
        return String(line.dropFirst(head.count).dropLast())
    }

    @Test func `has time, level and event, then the metadata by name`() {
        let written = lines(.logfmt) { $0.warning("closed", metadata: ["peer": "192.0.2.1", "count": "\(3)"]) }
        #expect(written == ["time=2026-10-14T17:46:40.123Z level=warning event=closed count=3 peer=192.0.2.1\n"])
    }

    @Test func `is one JSON object if asked for`() throws {
        let written = lines(.json) { $0.info("a \"b\"", metadata: ["k": "x\ny", "é": "ü"]) }
        #expect(
            written == [
                "{\"time\":\"2026-10-14T17:46:40.123Z\",\"level\":\"info\",\"event\":\"a \\\"b\\\"\",\"k\":\"x\\ny\","
                    + "\"_\":\"ü\"}\n"
            ])
    }

    static let values: [(String, String)] = [
        ("plain", "k=plain"), ("", "k=\"\""), ("two words", "k=\"two words\""), ("a=b", "k=\"a=b\""),
        ("say \"hi\"", "k=\"say \\\"hi\\\"\""), ("back\\slash", "k=\"back\\\\slash\""),
        ("line\nevent=forged", "k=\"line\\nevent=forged\""), ("\r\t", "k=\"\\r\\t\""),
        ("\u{0}\u{1b}[31m", "k=\"\\u0000\\u001b[31m\""),
        ("\u{7f}", "k=\"\\u007f\""), ("\u{2028}", "k=\"\\u2028\""), ("\u{202e}gpj", "k=\"\\u202egpj\""),
        ("\u{e0001}", "k=\"\\udb40\\udc01\""), ("grün", "k=\"grün\""), ("😀", "k=\"😀\""),
    ]

    @Test(arguments: values) func `escapes what could break out of its value`(_ value: String, _ expected: String) {
        #expect(logfmt(["k": "\(value)"]) == expected)
    }

    @Test(arguments: values) func `in JSON reads back as what was written`(_ value: String, _ expected: String) throws {
        let line = lines(.json) { $0.info("x", metadata: ["k": "\(value)"]) }.first ?? ""
        #expect(line.filter { $0 == "\n" }.count == 1)
        let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String]
        #expect(object?["k"] == value)
    }

    @Test func `cuts long values`() {
        let written = logfmt(["k": "\(String(repeating: "x", count: 100_000))"])
        #expect(written == "k=\"\(String(repeating: "x", count: 1024))…\"")
    }

    @Test func `cannot have its own fields replaced or its keys broken`() {
        #expect(logfmt(["event": "forged", "level": "error"]) == "event_=forged level_=error")
        #expect(logfmt(["a b=c\n": "x", "": "y"]) == "_=y a_b_c_=x")
    }

    @Test(arguments: ["password", "Password", "oldPassword", "secret", "token", "access_token", "credentials", "body"])
    func `hides what is named like a secret`(_ key: String) {
        #expect(logfmt(["\(key)": "hunter2"]) == "\(key)=[hidden]")
        #expect(logfmt(["a": ["\(key)": "hunter2"]]) == "a.\(key)=[hidden]")
    }

    @Test func `flattens lists and dictionaries`() {
        #expect(logfmt(["a": ["x", "y z"]]) == "a=\"x,y z\"")
        #expect(logfmt(["a": ["b": ["c": "1"], "d": "2"]]) == "a.b.c=1 a.d=2")
    }

    @Test func `has the logger's own metadata, and an error if there is one`() {
        struct Oops: Error, CustomStringConvertible { var description: String { "it broke" } }
        let written = lines(.logfmt) { logger in
            var logger = logger
            logger[metadataKey: "host"] = "localhost"
            logger.info("x", metadata: ["host": "other"])
            logger.error("y", error: Oops(), metadata: [:])
        }
        #expect(written.first?.hasSuffix(" host=other\n") == true)
        #expect(written.last?.hasSuffix(" error=\"it broke\" host=localhost\n") == true)
    }

    @Test func `is not written below the level`() {
        #expect(lines(.logfmt) { $0.trace("x") } == [])
        #expect(lines(.logfmt) { $0.debug("x") }.count == 1)
    }
}
