import Foundation
import ModuleKit

/// What the commands read from and write to whoever called them.
enum Terminal {
    /// On standard error, with the name of the program in front, as scripts and people expect it.
    static func complain(_ message: String) {
        let lines = message.split(separator: "\n").map { $0.trimmingPrefix(" ") }
        writeError("martlet: " + lines.map { String($0).printable(limit: 1000) }.joined(separator: "\n"))
    }

    static func writeError(_ text: String) {
        StandardError.write(Array((text + "\n").utf8))
    }

    /// As the control socket would say it: one line.
    static func show(_ output: CommandOutput, asJSON: Bool) throws(CommandError) {
        guard asJSON else { return show(output) }
        FileHandle.standardOutput.write(try ControlCoding.line(ControlAnswer(output)))
    }

    /// Prints what a command answered: tables with aligned columns on a terminal, tab-separated elsewhere.
    static func show(_ output: CommandOutput) {
        switch output {
        case .done(let text): print(text.printable(limit: 10_000))
        case .text(let text): if !text.isEmpty { print(text) }
        case .table(let columns, let rows): print(table(columns, rows, aligned: isatty(STDOUT_FILENO) == 1))
        }
    }

    static func table(_ columns: [String], _ rows: [[String]], aligned: Bool) -> String {
        let lines = ([columns] + rows).map { $0.map { $0.printable(limit: 1000) } }
        guard aligned else { return lines.map { $0.joined(separator: "\t") }.joined(separator: "\n") }
        var widths: [Int] = []
        for line in lines {
            for (index, cell) in line.enumerated() {
                if index == widths.count { widths.append(0) }
                widths[index] = max(widths[index], cell.count)
            }
        }
        return lines.map { line in
            line.enumerated().map { index, cell in
                index == line.count - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
            }.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    // Passwords

    /// A password: asked for twice without echo on a terminal, else the first line of standard input.
    ///
    /// - Throws: `CommandError` if the two differ, if there is none, or if it is longer than 1,023 bytes.
    static func newPassword(for address: String) throws(CommandError) -> String {
        guard isatty(STDIN_FILENO) == 1 else { return try checked(readLineOfInput()) }
        let first = try checked(prompt("Password for \(address.printable(limit: 200)): "))
        guard try prompt("Once more: ") == first else { throw CommandError("the two passwords differ") }
        return first
    }

    private static func checked(_ password: String?) throws(CommandError) -> String {
        guard let password, !password.isEmpty else { throw .usage("no password was given") }
        guard password.utf8.count <= 1023 else { throw .usage("the password is longer than 1023 bytes") }
        return password
    }

    private static func prompt(_ question: String) throws(CommandError) -> String? {
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else { throw CommandError("no terminal to ask on") }
        var silent = settings
        silent.c_lflag &= ~tcflag_t(ECHO)
        // Drops what was typed ahead: it was seen. The question comes after that, so that no answer to it is dropped.
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent)
        defer {
            tcsetattr(STDIN_FILENO, TCSANOW, &settings)
            StandardError.write(Array("\n".utf8))
        }
        StandardError.write(Array(question.utf8))
        return try readLineOfInput()
    }

    /// Bytes up to the end of the line, which is dropped; nil at the end of the input.
    private static func readLineOfInput() throws(CommandError) -> String? {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while true {
            let count = read(STDIN_FILENO, &byte, 1)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw CommandError("standard input cannot be read: \(systemError())") }
            if count == 0 {
                if bytes.isEmpty { return nil }
                break
            }
            if byte == UInt8(ascii: "\n") { break }
            bytes.append(byte)
            guard bytes.count <= 4096 else { throw .usage("the password is longer than 1023 bytes") }
        }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .usage("the password is not UTF-8") }
        return text
    }
}
