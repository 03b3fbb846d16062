/// Something an operator can have a running server do. Declared once, by the kernel or by a module
/// (`host.command(…)`); the command line is its first front end.
public struct Command: Sendable {
    public enum Scope: Hashable, Sendable {
        /// Of the whole server.
        case server
        /// Of one host, which the caller names.
        case host
    }

    /// What one types: lower-case letters, digits and `-`, several words apart by a space (`account add`). Unique.
    public var name: String
    /// One line for the list of commands.
    public var summary: String
    public var arguments: [CommandArgument]
    public var scope: Scope
    public var run: @Sendable (CommandInput) async throws(CommandError) -> CommandOutput

    public init(
        _ name: String, _ summary: String, _ arguments: [CommandArgument] = [], scope: Scope = .server,
        run: @escaping @Sendable (CommandInput) async throws(CommandError) -> CommandOutput
    ) {
        self.name = name
        self.summary = summary
        self.arguments = arguments
        self.scope = scope
        self.run = run
    }

    /// Checks the arguments against what the command declares, then runs it.
    ///
    /// - Throws: `CommandError.usage` for a missing or unknown argument or host, else what the command throws.
    public func callAsFunction(_ input: CommandInput) async throws(CommandError) -> CommandOutput {
        let unknown = input.arguments.keys.filter { key in !arguments.contains { $0.name == key } }.sorted()
        if let name = unknown.first { throw .usage("\(self.name) has no argument \(name.quotedForPrint)") }
        for argument in arguments where !argument.isOptional && input.arguments[argument.name] == nil {
            throw .usage("\(name) needs the argument \(argument.name): \(argument.summary)")
        }
        if scope == .host, input.host == nil { throw .usage("\(name) needs a host") }
        return try await run(input)
    }
}

public struct CommandArgument: Sendable, Hashable {
    public var name: String
    public var summary: String
    public var isOptional: Bool

    public init(_ name: String, _ summary: String, isOptional: Bool = false) {
        self.name = name
        self.summary = summary
        self.isOptional = isOptional
    }
}

/// What a command is called with.
public struct CommandInput: Sendable {
    public var arguments: [String: String]
    public var host: String?
    /// A password, apart from the arguments so that nothing that logs or prints those can show it.
    public var secret: String?

    public init(arguments: [String: String] = [:], host: String? = nil, secret: String? = nil) {
        self.arguments = arguments
        self.host = host
        self.secret = secret
    }
}

/// What a command answers; each front end shows it in its way.
public enum CommandOutput: Sendable, Equatable {
    /// It did it; one sentence says what.
    case done(String)
    /// Several lines.
    case text(String)
    case table(columns: [String], rows: [[String]])
}

/// Why a command did not do it: one line, without secrets.
public struct CommandError: Error, Sendable, Equatable, CustomStringConvertible {
    public var message: String
    /// What the command line exits with.
    public var exitCode: Int32

    public init(_ message: String, exitCode: Int32 = 1) {
        self.message = message
        self.exitCode = exitCode
    }

    public var description: String { message }

    /// Called wrongly (64, `EX_USAGE`).
    public static func usage(_ message: String) -> CommandError { CommandError(message, exitCode: 64) }
    /// What it is about is not there (2).
    public static func notFound(_ message: String) -> CommandError { CommandError(message, exitCode: 2) }
    /// What it would make is there already (3).
    public static func exists(_ message: String) -> CommandError { CommandError(message, exitCode: 3) }
    /// The server or its database cannot be reached (69, `EX_UNAVAILABLE`).
    public static func unavailable(_ message: String) -> CommandError { CommandError(message, exitCode: 69) }
}
