/// One mapping of the config, read option by option: each accessor names an option, its default and its range in one
/// line, and answers with a value of its type.
///
/// A wrong value is written into the report and the default comes back, so that reading goes on and all errors show at
/// once. A key that was never asked for is an error too. A *describing* section only writes down what it is asked for;
/// so the reference is made by the same lines that read the options.
public struct ConfigSection {
    let frame: ConfigFrame
    public let report: ConfigReport

    /// Path of this section, `modules.offline`; empty at the top.
    public var path: String { frame.path }
    /// Line where it begins; 0 if it is not in the file.
    public var line: Int { frame.line }
    public var isDescribing: Bool { frame.isDescribing }

    /// True when the file says something about this key.
    public func has(_ key: String) -> Bool { frame.entries.contains { $0.key == key } }

    /// Path of a key of this section, as errors name it.
    public func path(of key: String) -> String { frame.path(of: key) }

    /// Records an error about a key of this section, for rules that one accessor cannot see.
    public func error(_ key: String, _ reason: String) {
        guard !isDescribing else { return }
        report.error(line: line(of: key), key: frame.path(of: key), reason)
    }

    /// Records a warning, told at every start.
    public func warn(_ key: String, _ reason: String) {
        guard !isDescribing else { return }
        report.warning(line: line(of: key), key: frame.path(of: key), reason)
    }

    private func line(of key: String) -> Int {
        frame.entries.first { $0.key == key }?.line ?? frame.line
    }

    // Scalars

    public mutating func bool(_ key: String, default value: Bool, _ doc: String) -> Bool {
        read(key, "switch", ConfigText.write(value), nil, doc) { ConfigText.bool($0) } ?? value
    }

    /// A line of text; may be empty only if the default is.
    public mutating func string(_ key: String, default value: String, _ doc: String) -> String {
        text(key, value, isRequired: false, doc) ?? value
    }

    public mutating func string(_ key: String, _ doc: String) -> String? {
        text(key, nil, isRequired: false, doc)
    }

    /// A text that must be there; empty, with an error in the report, if it is not.
    public mutating func requiredString(_ key: String, _ doc: String) -> String {
        text(key, nil, isRequired: true, doc) ?? ""
    }

    /// One of the raw values of an enumeration.
    public mutating func choice<Choice>(_ key: String, default value: Choice, _ doc: String) -> Choice
    where Choice: RawRepresentable & CaseIterable, Choice.RawValue == String {
        let names = Choice.allCases.map(\.rawValue)
        let result: Choice? = read(key, names.joined(separator: " | "), value.rawValue, nil, doc) { scalar in
            if let choice = Choice(rawValue: scalar.text) { return .success(choice) }
            let near = names.nearest(to: scalar.text).map { ", did you mean \"\($0)\"?" } ?? ""
            return .failure("expected one of \(names.joined(separator: ", ")), found \(scalar.shown)\(near)")
        }
        return result ?? value
    }

    /// A value of a type of the caller's own. `parse` gets the text and answers nil if it is not `kind`.
    public mutating func value<Value>(
        _ key: String, _ kind: String, default text: String?, _ doc: String, _ parse: (String) -> Value?
    ) -> Value? {
        let result = read(key, kind, text, nil, doc) { scalar -> ConfigText.Parsed<Value> in
            parse(scalar.text).map { .success($0) } ?? .failure("expected \(kind), found \(scalar.shown)")
        }
        return result ?? text.flatMap(parse)
    }

    // Lists

    /// A list of texts, each at most once. An optional `most` bounds their number.
    public mutating func strings(
        _ key: String, default value: [String] = [], most: Int = 10_000, isRequired: Bool = false, _ doc: String
    ) -> [String] {
        describe(key, "list of texts", value.isEmpty ? nil : "[\(value.joined(separator: ", "))]", isRequired, nil, doc)
        return items(key, most: most, isRequired: isRequired)?.map(\.text) ?? value
    }

    /// A list of some of the cases of `Choice`, each at most once; not empty.
    public mutating func choices<Choice>(_ key: String, default value: [Choice], _ doc: String) -> [Choice]
    where Choice: RawRepresentable & CaseIterable & Equatable, Choice.RawValue == String {
        let names = Choice.allCases.map(\.rawValue)
        let kind = "list of \(names.joined(separator: " | "))"
        describe(key, kind, "[\(value.map(\.rawValue).joined(separator: ", "))]", false, nil, doc)
        guard let items = items(key, most: names.count, isRequired: false) else { return value }
        if items.isEmpty { error(key, "is empty") }
        var choices: [Choice] = []
        for item in items {
            if let choice = Choice(rawValue: item.text) {
                choices.append(choice)
            } else {
                let near = names.nearest(to: item.text).map { ", did you mean \"\($0)\"?" } ?? ""
                report.error(
                    line: item.line, key: "\(frame.path(of: key))[\(item.index)]",
                    "expected one of \(names.joined(separator: ", ")), found \(item.text.quotedForPrint)\(near)")
            }
        }
        return choices
    }

    /// The texts of a list with the line and the index of each; nil if the key is missing or wrong.
    public mutating func items(
        _ key: String, most: Int, isRequired: Bool
    ) -> [(text: String, line: Int, index: Int)]? {
        guard let entry = frame.ask(key) else {
            if isRequired { error(key, "is missing") }
            return nil
        }
        guard case .list(let nodes) = entry.node.value else {
            error(key, "expected a list, found \(entry.node.kind)")
            return nil
        }
        guard nodes.count <= most else {
            error(key, "has \(nodes.count) items, at most \(most) are allowed")
            return nil
        }
        if isRequired, nodes.isEmpty { error(key, "is empty") }
        var seen: Set<String> = []
        var texts: [(text: String, line: Int, index: Int)] = []
        for (index, node) in nodes.enumerated() {
            let path = "\(frame.path(of: key))[\(index)]"
            guard case .scalar(let text, _) = node.value, !text.isEmpty else {
                report.error(line: node.line, key: path, "expected a text, found \(node.kind)")
                continue
            }
            guard seen.insert(text).inserted else {
                report.error(line: node.line, key: path, "\(text.quotedForPrint) stands here twice")
                continue
            }
            texts.append((text, node.line, index))
        }
        return texts
    }

    // Sections

    /// A section below this one; empty if the file has none, so that its options have their defaults.
    public mutating func section(_ key: String, _ doc: String = "") -> ConfigSection {
        describe(key, "section", nil, false, nil, doc)
        guard !isDescribing else { return report.describingSection(path: frame.path(of: key)) }
        guard let entry = frame.ask(key) else {
            return report.section(ConfigNode(line: frame.line, .map([])), path: frame.path(of: key))
        }
        return report.section(entry.located, path: frame.path(of: key))
    }

    /// A list of sections; empty if the file has none. A describing section answers with one.
    public mutating func sections(
        _ key: String, most: Int = 1000, isRequired: Bool = false, _ doc: String
    ) -> [ConfigSection] {
        describe(key, "list of sections", nil, isRequired, nil, doc)
        guard !isDescribing else { return [report.describingSection(path: frame.path(of: key) + "[]")] }
        guard let entry = frame.ask(key) else {
            if isRequired { error(key, "is missing") }
            return []
        }
        guard case .list(let nodes) = entry.node.value else {
            error(key, "expected a list, found \(entry.node.kind)")
            return []
        }
        guard nodes.count <= most else {
            error(key, "has \(nodes.count) items, at most \(most) are allowed")
            return []
        }
        if isRequired, nodes.isEmpty { error(key, "is empty") }
        return nodes.enumerated().map { report.section($1, path: "\(frame.path(of: key))[\($0)]") }
    }

    /// The entries of a section whose keys are free names, undecoded; empty if the file has none.
    public mutating func entries(_ key: String, _ doc: String) -> [ConfigEntry] {
        describe(key, "section of names", nil, false, nil, doc)
        guard let entry = frame.ask(key) else { return [] }
        switch entry.node.value {
        case .map(let entries): return entries
        case .null: return []
        case .scalar, .list:
            error(key, "expected a section of `key: value` lines, found \(entry.node.kind)")
            return []
        }
    }

    /// Whatever stands behind the key, undecoded.
    public mutating func node(_ key: String) -> ConfigNode? { frame.ask(key)?.located }

    // Inside

    private mutating func text(_ key: String, _ value: String?, isRequired: Bool, _ doc: String) -> String? {
        let text: String? = read(key, "text", value, nil, isRequired: isRequired, doc) { scalar in
            if scalar.text.isEmpty, value?.isEmpty != true { return .failure("must not be empty") }
            // Behind a NUL the system would not see the rest of a path; the others belong into no text either.
            if scalar.text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) {
                return .failure("must not hold control characters")
            }
            return .success(scalar.text)
        }
        return text
    }

    /// Reads one scalar; nil if it is missing or wrong.
    mutating func read<Value>(
        _ key: String, _ kind: String, _ written: String?, _ range: String?, isRequired: Bool = false, _ doc: String,
        _ parse: (ConfigText) -> ConfigText.Parsed<Value>
    ) -> Value? {
        describe(key, kind, written, isRequired, range, doc)
        guard !isDescribing else { return nil }
        guard let entry = frame.ask(key) else {
            if isRequired { error(key, "is missing") }
            return nil
        }
        guard case .scalar(let text, let quoted) = entry.node.value else {
            error(key, entry.node.value == .null ? "has no value" : "expected \(kind), found \(entry.node.kind)")
            return nil
        }
        switch parse(ConfigText(text: text, isQuoted: quoted)) {
        case .success(let value): return value
        case .failure(let reason):
            error(key, reason)
            return nil
        }
    }

    private func describe(
        _ key: String, _ kind: String, _ value: String?, _ isRequired: Bool, _ range: String?, _ doc: String
    ) {
        guard isDescribing else { return }
        report.descriptions.append(
            OptionDescription(
                path: frame.path(of: key), kind: kind, defaultValue: value, isRequired: isRequired, range: range,
                documentation: doc))
    }
}

/// Options of a module, made from its section of the config. Never fails: errors are in the section's report, and the
/// value made then is thrown away.
public protocol ModuleOptions: Sendable, Equatable {
    init(from section: inout ConfigSection)
}

extension ConfigEntry {
    /// The node, with the line of the key where its own would be less useful.
    var located: ConfigNode { ConfigNode(line: line == 0 ? node.line : line, node.value) }
}
