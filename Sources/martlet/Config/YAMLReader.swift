import Foundation
import ModuleKit
import Yams

/// Turns YAML into `ConfigNode`s, strictly: one document, no duplicate keys, no anchors, aliases or tags, bounded in
/// size and depth. What is wrong goes into the report with its line; the parts that can be read are handed over all
/// the same, so that their errors show in the same run.
struct YAMLReader {
    /// Bytes of the largest file.
    static let largestFile = 1 << 20
    /// Levels of sections and lists within each other.
    static let deepest = 32

    private let report: ConfigReport

    /// - Returns: the whole file as one section; empty if nothing could be read.
    static func read(_ text: String, into report: ConfigReport) -> ConfigNode {
        let reader = YAMLReader(report: report)
        guard text.utf8.count <= largestFile else {
            report.error(line: 0, key: "", "is larger than 1 MiB")
            return .empty
        }
        guard !reader.abusesAliases(text) else {
            report.error(line: 0, key: "", "anchors and aliases are not supported")
            return .empty
        }
        guard let document = reader.compose(text.hasPrefix("\u{FEFF}") ? String(text.dropFirst()) : text) else {
            return .empty
        }
        guard let root = document.root else {
            report.error(line: 0, key: "", "is empty")
            return .empty
        }
        // A node knows its anchor only as long as the parser lives.
        let node = withExtendedLifetime(document.parser) { reader.node(root, path: "", depth: 0) }
        if case .map = node.value { return node }
        report.error(line: node.line, key: "", "expected `key: value` lines")
        return .empty
    }

    // Parsing

    /// Stands before a key whose twin comes later. Not a character of any language.
    private static let twinMark = "\u{10FFFD}"

    /// Parses the text. Yams stops at the first mapping with a duplicate key, so that key is marked and the text read
    /// again, until the other errors can be seen too.
    private func compose(_ text: String) -> Document? {
        var text = text
        for _ in 0...50 {
            do {
                return try Self.onRoomyStack { [text] in
                    let parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
                    return Document(parser: parser, root: try parser.singleRoot())
                }
            } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
                let key = keys.first ?? ""
                guard let marked = mark(context.mark, in: text) else {
                    report.error(line: context.mark.line, key: key, "stands more than once in its section")
                    return nil
                }
                text = marked
            } catch {
                explain(error)
                return nil
            }
        }
        report.error(line: 0, key: "", "has too many duplicate keys")
        return nil
    }

    private struct Document {
        let parser: Parser
        /// Nil: there is nothing in the file.
        let root: Node?
    }

    /// Yams recurses up to 1,000 levels deep: more than the stack of a pool thread holds.
    private static func onRoomyStack(_ body: @escaping @Sendable () throws -> Document) throws -> Document {
        final class Box: @unchecked Sendable {
            // Confined: written by the thread, read after the semaphore says that it has ended.
            var result: Result<Document, any Error>?
        }
        let box = Box()
        let ended = DispatchSemaphore(value: 0)
        let thread = Thread {
            box.result = Result { try body() }
            ended.signal()
        }
        thread.stackSize = 16 << 20
        thread.start()
        ended.wait()
        guard let result = box.result else { throw CommandError("the config cannot be read") }
        return try result.get()
    }

    private func mark(_ mark: Mark, in text: String) -> String? {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.indices.contains(mark.line - 1) else { return nil }
        var line = String(lines[mark.line - 1])
        let scalars = line.unicodeScalars
        guard
            var position = scalars.index(
                scalars.startIndex, offsetBy: mark.column - 1, limitedBy: scalars.endIndex), position < scalars.endIndex
        else { return nil }
        if scalars[position] == "\"" || scalars[position] == "'" { position = scalars.index(after: position) }
        line.insert(contentsOf: Self.twinMark, at: position)
        lines[mark.line - 1] = Substring(line)
        return lines.joined(separator: "\n")
    }

    private func explain(_ error: any Error) {
        switch error {
        case YamlError.scanner(let context, let problem, let mark, _),
            YamlError.parser(let context, let problem, let mark, _),
            YamlError.composer(let context, let problem, let mark, _):
            let near = context.map { " (\($0.text) in line \($0.mark.line))" } ?? ""
            report.error(line: mark.line, key: "", "is not valid YAML: \(problem)\(near)")
        case YamlError.reader(let problem, let offset, _, let text):
            let before = text.prefix(offset ?? 0)
            report.error(line: 1 + before.count { $0.isNewline }, key: "", "is not valid YAML: \(problem)")
        default:
            report.error(line: 0, key: "", "is not valid YAML")
        }
    }

    /// True if the text would grow out of bounds when its aliases are followed ("billion laughs"). Yams follows them
    /// before we see the nodes; with as few as this lets pass that is harmless, and then each is refused by its line.
    private func abusesAliases(_ text: String) -> Bool {
        func names(after sign: Unicode.Scalar) -> [Substring] {
            text.unicodeScalars.split(separator: sign, omittingEmptySubsequences: false).dropFirst().map {
                Substring(
                    $0.prefix { $0.properties.isAlphabetic || ("0"..."9").contains($0) || $0 == "-" || $0 == "_" })
            }
        }
        let anchors = Set(names(after: "&"))
        return names(after: "*").count { !$0.isEmpty && anchors.contains($0) } > 24
    }

    // Nodes

    private func node(_ node: Node, path: String, depth: Int) -> ConfigNode {
        let line = node.mark?.line ?? 0
        guard node.anchor == nil else {
            report.error(line: line, key: path, "anchors and aliases are not supported")
            return ConfigNode(line: line, .null)
        }
        guard depth <= Self.deepest else {
            report.error(line: line, key: path, "is nested too deeply")
            return ConfigNode(line: line, .null)
        }
        switch node {
        case .scalar(let scalar):
            refuseTag(scalar.tag, [.implicit, .str], line, path)
            return ConfigNode(line: line, value(of: scalar))
        case .sequence(let sequence):
            refuseTag(sequence.tag, [.implicit, .seq], line, path)
            let items = sequence.enumerated().map { self.node($1, path: "\(path)[\($0)]", depth: depth + 1) }
            return ConfigNode(line: line, .list(items))
        case .mapping(let mapping):
            refuseTag(mapping.tag, [.implicit, .map], line, path)
            return ConfigNode(line: line, .map(entries(of: mapping, path, depth)))
        case .alias:
            report.error(line: line, key: path, "anchors and aliases are not supported")
            return ConfigNode(line: line, .null)
        }
    }

    private func entries(of mapping: Node.Mapping, _ path: String, _ depth: Int) -> [ConfigEntry] {
        var entries: [ConfigEntry] = []
        var lines: [String: Int] = [:]
        for (key, value) in mapping {
            let line = key.mark?.line ?? value.mark?.line ?? 0
            guard case .scalar(let scalar) = key, scalar.anchor == nil, !scalar.string.isEmpty else {
                report.error(line: line, key: path, "a key must be a plain name")
                continue
            }
            let name = scalar.string.hasPrefix(Self.twinMark) ? String(scalar.string.dropFirst()) : scalar.string
            let keyPath = path.isEmpty ? name : "\(path).\(name)"
            guard name.utf8.count <= 256 else {
                report.error(line: line, key: path, "a key is longer than 256 bytes")
                continue
            }
            if name == "<<" {
                report.error(line: line, key: path, "merge keys (<<) are not supported")
                continue
            }
            if let first = lines.updateValue(line, forKey: name) {
                report.error(line: line, key: keyPath, "stands here twice, first in line \(first)")
                continue
            }
            entries.append(ConfigEntry(name, line: line, self.node(value, path: keyPath, depth: depth + 1)))
        }
        return entries
    }

    private func value(of scalar: Node.Scalar) -> ConfigNode.Value {
        let isPlain = scalar.style == .plain || scalar.style == .any
        if isPlain, ["", "~", "null", "Null", "NULL"].contains(scalar.string) { return .null }
        return .scalar(scalar.string, quoted: !isPlain)
    }

    private func refuseTag(_ tag: Tag, _ allowed: [Tag.Name], _ line: Int, _ path: String) {
        // The name as written: asking the tag itself would resolve it.
        guard !allowed.contains(where: { tag.description == $0.rawValue }) else { return }
        report.error(line: line, key: path, "tags (\(tag.description)) are not supported")
    }
}
