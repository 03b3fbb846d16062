/// How easily a name can be taken for another one.
public enum NameScripts: Hashable, Sendable {
    /// ASCII only.
    case ascii
    /// Letters of one writing system, as its writers mix them: Japanese and Korean may have Chinese characters.
    case one
    /// Letters of several, such as a Latin word with a Cyrillic letter in it.
    case several

    /// Looks at the letters; digits, signs and combining marks belong to every script.
    public init(of name: String) {
        guard !name.utf8.allSatisfy({ $0 < 0x80 }) else {
            self = .ascii
            return
        }
        var scripts: Set<String> = []
        for scalar in name.unicodeScalars {
            guard let script = Unistring.script(scalar.value), script != "Common", script != "Inherited" else {
                continue
            }
            scripts.insert(script)
        }
        let isOne = scripts.count <= 1 || Self.mixtures.contains { scripts.isSubset(of: $0) }
        self = isOne ? .one : .several
    }

    /// UTS 39 §5.2.
    private static let mixtures: [Set<String>] = [
        ["Han", "Hiragana", "Katakana"], ["Han", "Hangul"], ["Han", "Bopomofo"],
    ]
}
