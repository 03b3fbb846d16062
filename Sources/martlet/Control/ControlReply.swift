import Foundation
import ModuleKit

/// The answer of a command: something short, or a text that is made while it is read.
enum ControlReply: Sendable {
    case answer(ControlAnswer)
    case text(any TextPages)

    init(_ output: CommandOutput) { self = .answer(ControlAnswer(output)) }
    init(_ error: CommandError) { self = .answer(ControlAnswer(error)) }
}

/// The lines of a text that may be too long for memory.
protocol TextPages: Sendable {
    /// The lines that follow those given before, which may be none; nil after the last. Asked for only when what came
    /// before has been taken.
    mutating func next() async throws(CommandError) -> [String]?
}

extension TextPages {
    /// All of it, for where memory is no matter.
    consuming func text() async throws(CommandError) -> String {
        var lines: [String] = []
        while let page = try await next() { lines += page }
        return lines.joined(separator: "\n")
    }
}

extension ControlReply {
    /// Bytes after which a piece is handed over; the piece of a text is up to one page longer.
    static let pieceLength = 64 << 10

    /// Hands the line of the answer to `send`, piece by piece. The next piece is made when `send` has returned.
    ///
    /// - Throws: what `send` throws; `CommandError` if the answer cannot be written as JSON. What fails within a text is
    ///   part of the line: an `error` behind the `text`, which counts instead of it.
    func write(to send: (Data) async throws -> Void) async throws {
        switch self {
        case .answer(let answer):
            let line = try ControlCoding.line(answer)
            for start in stride(from: 0, to: line.count, by: Self.pieceLength) {
                try await send(line[start..<min(line.count, start + Self.pieceLength)])
            }
        case .text(let pages):
            var pieces = TextPieces(pages: pages)
            while let piece = await pieces.next() { try await send(piece) }
        }
    }
}

/// A text as the JSON of a `ControlAnswer`.
private struct TextPieces {
    var pages: any TextPages
    private var hasBegun = false
    private var hasLine = false
    private var isOver = false

    init(pages: any TextPages) {
        self.pages = pages
    }

    mutating func next() async -> Data? {
        guard !isOver else { return nil }
        var piece = hasBegun ? Data() : Data("{\"text\":\"".utf8)
        hasBegun = true
        do throws(CommandError) {
            while piece.count < ControlReply.pieceLength {
                guard let lines = try await pages.next() else {
                    isOver = true
                    return piece + Data("\"}\n".utf8)
                }
                for line in lines {
                    piece += try ControlCoding.escaped(hasLine ? "\n" + line : line)
                    hasLine = true
                }
            }
            return piece
        } catch {
            isOver = true
            guard let failure = try? ControlCoding.line(ControlAnswer(error)) else { return nil }
            return piece + Data("\",".utf8) + failure.dropFirst()
        }
    }
}
