/// One value of a config file, before anybody knows its type: what the YAML reader hands over.
///
/// Two nodes are equal when they say the same, wherever in the file they stand: a reload compares nodes to see what
/// changed, and a line that moved is no change.
public struct ConfigNode: Sendable, Equatable {
    public enum Value: Sendable, Equatable {
        /// Nothing behind the key. Reads as an empty section, and as a missing value where a value is needed.
        case null
        /// `quoted` tells `"5"` from `5`: a quoted scalar is never a number, a switch or nothing.
        case scalar(String, quoted: Bool)
        case list([ConfigNode])
        /// No key stands in it twice.
        case map([ConfigEntry])
    }

    /// Line of the file, from 1; 0 for a node that comes from no file.
    public var line: Int
    public var value: Value

    public init(line: Int = 0, _ value: Value) {
        self.line = line
        self.value = value
    }

    /// A section with nothing in it: every option has its default.
    public static let empty = ConfigNode(.map([]))

    public static func == (left: ConfigNode, right: ConfigNode) -> Bool { left.value == right.value }

    /// The node behind a key; nil if this is no mapping or lacks it.
    public subscript(key: String) -> ConfigNode? { entry(key)?.node }

    /// The entry of a key; nil if this is no mapping or lacks it.
    public func entry(_ key: String) -> ConfigEntry? {
        guard case .map(let entries) = value else { return nil }
        return entries.first { $0.key == key }
    }

    /// True for `false` without quotes: what a host writes to leave out a module that all hosts have.
    public var isSwitchedOff: Bool { value == .scalar("false", quoted: false) }

    /// This node with another laid over it: mappings are joined key by key, everything else of `other` replaces what
    /// stands here. `scope` goes before the paths of what came from `other`, so that errors name where it was written.
    public func overlaid(with other: ConfigNode, scope: String) -> ConfigNode {
        guard case .map(var entries) = value, case .map(let above) = other.value else {
            if case .map = value, case .null = other.value { return self }
            return other
        }
        for var entry in above {
            entry.scope = scope
            guard let index = entries.firstIndex(where: { $0.key == entry.key }) else {
                entries.append(entry)
                continue
            }
            if case .map = entries[index].node.value, case .map = entry.node.value {
                let path = scope.isEmpty ? entry.key : "\(scope).\(entry.key)"
                entries[index].node = entries[index].node.overlaid(with: entry.node, scope: path)
            } else if case .map = entries[index].node.value, case .null = entry.node.value {
                continue
            } else {
                entries[index] = entry
            }
        }
        return ConfigNode(line: line, .map(entries))
    }
}

/// One `key: value` of a mapping.
public struct ConfigEntry: Sendable, Equatable {
    public var key: String
    /// Line of the key.
    public var line: Int
    public var node: ConfigNode
    /// Path of the mapping this entry was written in, when that is not the one it stands in (`host_config.…` after
    /// merging); nil otherwise.
    public var scope: String?

    public init(_ key: String, line: Int = 0, _ node: ConfigNode) {
        self.key = key
        self.line = line
        self.node = node
    }

    public static func == (left: ConfigEntry, right: ConfigEntry) -> Bool {
        left.key == right.key && left.node == right.node
    }
}
