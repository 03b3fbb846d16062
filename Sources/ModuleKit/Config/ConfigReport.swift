/// One thing wrong with a config file, printed as `file:line: key: reason`.
public struct ConfigProblem: Sendable, Hashable, CustomStringConvertible {
    public var file: String
    /// From 1; 0 if it belongs to no line.
    public var line: Int
    /// Path of the option, `listen[0].port`; empty for the file as a whole.
    public var key: String
    public var reason: String

    public init(file: String, line: Int, key: String, reason: String) {
        self.file = file
        self.line = line
        self.key = key
        self.reason = reason
    }

    public var description: String {
        var text = file
        if line > 0 { text += ":\(line)" }
        if !key.isEmpty { text += ": \(key.printable(limit: 200))" }
        return text + ": " + reason
    }
}

/// Everything that is wrong with a config: never empty. Nothing was started or changed.
public struct ConfigErrors: Error, Sendable, Equatable, CustomStringConvertible {
    public var problems: [ConfigProblem]

    public init(_ problems: [ConfigProblem]) {
        self.problems = problems
    }

    /// One line per problem.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// Collects what is wrong with one config, so that its owner hears of everything at once.
///
/// Sections made by it write into it while they are read; `finish` then looks for keys that nobody asked for. Used on
/// one thread.
public final class ConfigReport {
    /// As errors name it.
    public let file: String
    public private(set) var errors: [ConfigProblem] = []
    /// What may stay but deserves a word at every start.
    public private(set) var warnings: [ConfigProblem] = []
    /// What a describing section was asked for, in that order.
    public internal(set) var descriptions: [OptionDescription] = []

    private var known: Set<ConfigProblem> = []
    private var wrongKeys: Set<ConfigProblem> = []
    private var frames: [ConfigFrame] = []
    /// More errors than this help nobody; the rest is counted.
    private static let mostErrors = 200

    public init(file: String = "") {
        self.file = file
    }

    /// Records an error, once however often it is found (hosts share sections). A key with an error already gets no
    /// second one: it would only follow from the first.
    public func error(line: Int, key: String, _ reason: String) {
        guard errors.count < Self.mostErrors else { return }
        let place = ConfigProblem(file: file, line: line, key: key, reason: key.isEmpty ? reason : "")
        guard wrongKeys.insert(place).inserted else { return }
        errors.append(ConfigProblem(file: file, line: line, key: key, reason: reason))
    }

    public func note(_ lack: ModuleLack, line: Int, key: String) {
        if lack.isError { error(line: line, key: key, lack.reason) } else { warning(line: line, key: key, lack.reason) }
    }

    public func warning(line: Int, key: String, _ reason: String) {
        let problem = ConfigProblem(file: file, line: line, key: key, reason: reason)
        guard warnings.count < Self.mostErrors, known.insert(problem).inserted else { return }
        warnings.append(problem)
    }

    /// A section to read options from. A node that is no mapping is an error and reads as an empty section.
    public func section(_ node: ConfigNode, path: String = "") -> ConfigSection {
        let frame = ConfigFrame(path: path, line: node.line)
        switch node.value {
        case .map(let entries): frame.entries = entries
        case .null: break
        case .scalar, .list:
            error(line: node.line, key: path, "expected a section of `key: value` lines, found \(node.kind)")
        }
        frames.append(frame)
        return ConfigSection(frame: frame, report: self)
    }

    /// A section that writes down which options it is asked for (`descriptions`) and answers with their defaults.
    public func describingSection(path: String = "") -> ConfigSection {
        let frame = ConfigFrame(path: path, line: 0)
        frame.isDescribing = true
        return ConfigSection(frame: frame, report: self)
    }

    /// Refuses keys that no reader asked for, then throws if anything is wrong. To be called once all was read.
    public func finish() throws(ConfigErrors) {
        for frame in frames {
            for entry in frame.entries where !frame.used.contains(entry.key) {
                guard errors.count < Self.mostErrors else { break }
                error(line: entry.line, key: frame.path(of: entry), frame.refusal(of: entry.key))
            }
        }
        frames.removeAll()
        guard errors.isEmpty else {
            // A stable order by line: the file is read from the top.
            let sorted = errors.enumerated().sorted { ($0.element.line, $0.offset) < ($1.element.line, $1.offset) }
            throw ConfigErrors(sorted.map(\.element))
        }
    }
}

/// One option as documentation shows it.
public struct OptionDescription: Sendable, Hashable {
    /// `limits.unauthenticated.timeout`; `[]` stands for each item of a list, `*` for a free name.
    public var path: String
    /// `duration`, `bytes`, `number`, `switch`, `text`, `list`, `section` or the choices `a | b | c`.
    public var kind: String
    /// As one would write it; nil: none (see `isRequired`).
    public var defaultValue: String?
    public var isRequired: Bool
    /// `1...100`; nil if anything goes.
    public var range: String?
    public var documentation: String

    public init(
        path: String, kind: String, defaultValue: String?, isRequired: Bool, range: String?, documentation: String
    ) {
        self.path = path
        self.kind = kind
        self.defaultValue = defaultValue
        self.isRequired = isRequired
        self.range = range
        self.documentation = documentation
    }
}

/// The state of one section while it is read; shared by the copies of its `ConfigSection`.
final class ConfigFrame {
    let path: String
    let line: Int
    var entries: [ConfigEntry] = []
    var used: Set<String> = []
    /// Keys asked for, in that order: what an unknown key is compared with.
    var asked: [String] = []
    var isDescribing = false

    init(path: String, line: Int) {
        self.path = path
        self.line = line
    }

    /// Marks a key as one that exists here.
    func ask(_ key: String) -> ConfigEntry? {
        if used.insert(key).inserted { asked.append(key) }
        return entries.first { $0.key == key }
    }

    func path(of key: String) -> String {
        entries.first { $0.key == key }.map(path(of:)) ?? (path.isEmpty ? key : "\(path).\(key)")
    }

    func path(of entry: ConfigEntry) -> String {
        let base = entry.scope ?? path
        return base.isEmpty ? entry.key : "\(base).\(entry.key)"
    }

    func refusal(of key: String) -> String {
        if let near = asked.nearest(to: key) { return "unknown key, did you mean \"\(near)\"?" }
        if asked.isEmpty { return "unknown key, nothing can be set here" }
        if asked.count > 15 { return "unknown key" }
        return "unknown key, known here: " + asked.joined(separator: ", ")
    }
}
