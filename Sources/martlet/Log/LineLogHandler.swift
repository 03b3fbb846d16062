import Foundation
import Logging
import ModuleKit
import XMPPServer

/// Makes each event a line: `time`, `level`, `event`, then the metadata by name.
///
/// Whatever a value holds, a line stays one line and one set of fields: control characters, quotes and invisible
/// formatting are escaped, long values are cut, and a metadata key cannot take the place of one of the three fields.
/// Values under the name of a secret are never written.
struct LineLogHandler: LogHandler {
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    var logLevel: Logger.Level

    private let format: LogConfig.Format
    private let write: @Sendable ([UInt8]) -> Void
    private let now: @Sendable () -> Timestamp

    /// - Parameter write: takes a line with its end. Called by whoever logs, event loops for example: must not wait.
    init(
        level: Logger.Level, format: LogConfig.Format, now: @escaping @Sendable () -> Timestamp = Self.wallClock,
        write: @escaping @Sendable ([UInt8]) -> Void
    ) {
        logLevel = level
        self.format = format
        self.now = now
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata
        if let provided = metadataProvider?.get() { fields.merge(provided) { $1 } }
        if let own = event.metadata { fields.merge(own) { $1 } }
        if let error = event.error { fields["error"] = "\(error)" }
        var line = LogLine(format)
        line.add("time", now().description)
        line.add("level", event.level.rawValue)
        line.add("event", event.message.description)
        for (key, value) in fields.sorted(by: { $0.key < $1.key }) { line.add(metadata: key, value) }
        write(line.finished())
    }

    @Sendable static func wallClock() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000)
    }
}

/// One line in the making.
struct LogLine {
    /// Unicode scalars of a value that are written.
    static let longestValue = 1024
    private static let own: Set<String> = ["time", "level", "event"]
    /// Nothing that is called so belongs in a log.
    private static let secrets = ["password", "passwd", "secret", "token", "credential", "authorization", "body"]

    private let format: LogConfig.Format
    private var bytes: [UInt8] = []

    init(_ format: LogConfig.Format) {
        self.format = format
        bytes.reserveCapacity(256)
    }

    mutating func add(metadata key: String, _ value: Logger.MetadataValue) {
        var name = Self.name(key)
        if Self.own.contains(name) { name += "_" }
        let lowercase = name.lowercased()
        guard !Self.secrets.contains(where: { lowercase.contains($0) }) else {
            add(name, "[hidden]")
            return
        }
        switch value {
        case .string(let text): add(name, text)
        case .stringConvertible(let value): add(name, value.description)
        case .array(let values): add(name, values.map(Self.flat).joined(separator: ","))
        case .dictionary(let values):
            for (inner, value) in values.sorted(by: { $0.key < $1.key }) { add(metadata: "\(name).\(inner)", value) }
        }
    }

    mutating func add(_ name: String, _ text: String) {
        switch format {
        case .logfmt:
            if !bytes.isEmpty { bytes.append(UInt8(ascii: " ")) }
            bytes.append(contentsOf: name.utf8)
            bytes.append(UInt8(ascii: "="))
            let isPlain = !text.isEmpty && text.utf8.count <= Self.longestValue && text.utf8.allSatisfy(Self.isPlain)
            if isPlain { bytes.append(contentsOf: text.utf8) } else { addQuoted(text) }
        case .json:
            bytes.append(UInt8(ascii: bytes.isEmpty ? "{" : ","))
            addQuoted(name)
            bytes.append(UInt8(ascii: ":"))
            addQuoted(text)
        }
    }

    consuming func finished() -> [UInt8] {
        if format == .json { bytes.append(UInt8(ascii: "}")) }
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    /// As JSON writes a string, in both formats.
    private mutating func addQuoted(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        var count = 0
        for scalar in text.unicodeScalars {
            count += 1
            if count > Self.longestValue {
                bytes.append(contentsOf: "…".utf8)
                break
            }
            switch scalar {
            case "\"": bytes.append(contentsOf: "\\\"".utf8)
            case "\\": bytes.append(contentsOf: "\\\\".utf8)
            case "\n": bytes.append(contentsOf: "\\n".utf8)
            case "\r": bytes.append(contentsOf: "\\r".utf8)
            case "\t": bytes.append(contentsOf: "\\t".utf8)
            default:
                switch scalar.properties.generalCategory {
                case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate:
                    for unit in UTF16.encode(scalar) ?? UTF16.encodedReplacementCharacter {
                        let digits = String(unit, radix: 16)
                        bytes.append(contentsOf: "\\u".utf8)
                        bytes.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: 4 - digits.utf8.count))
                        bytes.append(contentsOf: digits.utf8)
                    }
                default: bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
                }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// May stand in logfmt without quotes: printable ASCII but space, quotes, backslash and `=`.
    private static func isPlain(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "=")
            && byte != UInt8(ascii: "\\")
    }

    private static func name(_ key: String) -> String {
        let letters = key.unicodeScalars.prefix(64).map { scalar -> Character in
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "_", "-", ".": Character(scalar)
            default: "_"
            }
        }
        return letters.isEmpty ? "_" : String(letters)
    }

    private static func flat(_ value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): text
        case .stringConvertible(let value): value.description
        case .array(let values): "[\(values.map(flat).joined(separator: ","))]"
        case .dictionary: "{…}"
        }
    }
}
