import Foundation
import ModuleKit

/// What a command sends to the running server: one line of JSON. One request, one answer, then the connection ends.
struct ControlRequest: Codable, Sendable {
    var command: String
    var arguments: [String: String] = [:]
    var host: String?
    /// Never printed, see `description`.
    var secret: String?

    /// Bytes of the longest request: a batch of an import.
    static let longest = 4 << 20

    var input: CommandInput { CommandInput(arguments: arguments, host: host, secret: secret) }
}

extension ControlRequest: CustomStringConvertible {
    var description: String { command.printable(limit: 100) }
}

/// What comes back: one line of JSON.
struct ControlAnswer: Codable, Sendable, Equatable {
    /// One of these is set.
    var done: String?
    var text: String?
    var table: Table?
    var error: Failure?

    struct Table: Codable, Sendable, Equatable {
        var columns: [String]
        var rows: [[String]]
    }

    struct Failure: Codable, Sendable, Equatable {
        var message: String
        var exitCode: Int32
    }

    init(_ output: CommandOutput) {
        switch output {
        case .done(let text): done = text
        case .text(let text): self.text = text
        case .table(let columns, let rows): table = Table(columns: columns, rows: rows)
        }
    }

    init(_ error: CommandError) {
        self.error = Failure(message: error.message, exitCode: error.exitCode)
    }

    func output() throws(CommandError) -> CommandOutput {
        if let error { throw CommandError(error.message, exitCode: error.exitCode) }
        if let table { return .table(columns: table.columns, rows: table.rows) }
        if let text { return .text(text) }
        if let done { return .done(done) }
        throw .unavailable("the server's answer makes no sense; is it of another version?")
    }
}

enum ControlCoding {
    /// One line, its end included.
    static func line(_ message: some Encodable) throws(CommandError) -> Data {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return try encoder.encode(message) + Data("\n".utf8)
        } catch {
            throw CommandError("the message cannot be written as JSON")
        }
    }

    /// The characters between the quotes of a string in JSON.
    static func escaped(_ text: String) throws(CommandError) -> Data {
        try line(text).dropFirst().dropLast(2)
    }

    static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: some Sequence<UInt8>) -> Message? {
        try? JSONDecoder().decode(type, from: Data(bytes))
    }
}
