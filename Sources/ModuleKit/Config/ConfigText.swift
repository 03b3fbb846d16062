/// A scalar of the config and how its forms are read. Nothing here traps, whatever the text.
struct ConfigText {
    enum Parsed<Value> {
        case success(Value)
        /// The reason, as the owner of the file reads it.
        case failure(String)
    }

    let text: String
    let isQuoted: Bool

    /// The value as an error shows it.
    var shown: String { text.quotedForPrint }

    static func bool(_ scalar: ConfigText) -> Parsed<Bool> {
        switch (scalar.text, scalar.isQuoted) {
        case ("true", false): .success(true)
        case ("false", false): .success(false)
        default: .failure("expected true or false, found \(scalar.shown)")
        }
    }

    static func int(_ scalar: ConfigText) -> Parsed<Int> {
        guard !scalar.isQuoted, let (value, rest) = digits(scalar.text), rest.isEmpty else {
            return .failure("expected a whole number, found \(scalar.shown)")
        }
        return .success(value)
    }

    static func bytes(_ scalar: ConfigText) -> Parsed<Int> {
        let hint = "expected a size like 4096, 256KiB or 4MiB, found \(scalar.shown)"
        guard !scalar.isQuoted, let (value, rest) = digits(scalar.text) else { return .failure(hint) }
        let unit = rest.drop { $0 == " " }
        guard let factor = byteUnits.first(where: { unit == $0.name })?.factor ?? (unit.isEmpty ? 1 : nil) else {
            return .failure(hint)
        }
        let (product, overflow) = value.multipliedReportingOverflow(by: factor)
        return overflow ? .failure("\(scalar.text) is too large") : .success(product)
    }

    static func duration(_ scalar: ConfigText) -> Parsed<Duration> {
        let hint = "expected a time with its unit, like 500ms, 30s, 10m, 1h or 90d, found \(scalar.shown)"
        guard !scalar.isQuoted else { return .failure(hint) }
        var rest = scalar.text[...]
        var total: Int64 = 0
        var lastFactor = Int64.max
        repeat {
            guard let (value, afterDigits) = digits(rest) else { return .failure(hint) }
            let unit = afterDigits.prefix { $0.isLetter }
            guard let factor = timeUnits.first(where: { unit == $0.name })?.milliseconds, factor < lastFactor else {
                return .failure(hint)
            }
            let (product, overflow) = Int64(value).multipliedReportingOverflow(by: factor)
            let (sum, sumOverflow) = total.addingReportingOverflow(product)
            if overflow || sumOverflow { return .failure("\(scalar.text) is too large") }
            (total, lastFactor) = (sum, factor)
            rest = afterDigits.dropFirst(unit.count)
        } while !rest.isEmpty
        return .success(.milliseconds(total))
    }

    static func write(_ value: Bool) -> String { value ? "true" : "false" }

    static func write(bytes: Int) -> String {
        for unit in byteUnits where bytes != 0 && bytes % unit.factor == 0 {
            return "\(bytes / unit.factor)\(unit.name)"
        }
        return String(bytes)
    }

    static func write(duration: Duration) -> String {
        let parts = duration.components
        guard parts.seconds < .max / 1000, parts.seconds > .min / 1000 else { return "\(parts.seconds)s" }
        let milliseconds = parts.seconds * 1000 + parts.attoseconds / 1_000_000_000_000_000
        guard milliseconds != 0 else { return "0s" }
        for unit in timeUnits where unit.name != "w" && milliseconds % unit.milliseconds == 0 {
            return "\(milliseconds / unit.milliseconds)\(unit.name)"
        }
        return "\(milliseconds)ms"
    }

    private static let byteUnits: [(name: String, factor: Int)] = [
        ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ]
    private static let timeUnits: [(name: String, milliseconds: Int64)] = [
        ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1),
    ]

    /// The ASCII digits at the start, as a number, and what follows them; nil without digits or when they overflow.
    private static func digits(_ text: some StringProtocol) -> (Int, Substring)? {
        let text = Substring(text)
        var value = 0
        var index = text.utf8.startIndex
        while index < text.utf8.endIndex, case let byte = text.utf8[index], byte >= 0x30, byte <= 0x39 {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, sumOverflow) = product.addingReportingOverflow(Int(byte - 0x30))
            guard !overflow, !sumOverflow else { return nil }
            value = sum
            index = text.utf8.index(after: index)
        }
        guard index > text.utf8.startIndex else { return nil }
        return (value, text[index...])
    }
}

extension ConfigNode {
    /// What the node is, in the words of an error.
    var kind: String {
        switch value {
        case .null: "nothing"
        case .scalar(let text, _): text.quotedForPrint
        case .list: "a list"
        case .map: "a section"
        }
    }
}

extension String {
    /// In quotes, on one line, cut if long.
    package var quotedForPrint: String { "\"" + printable(limit: 60) + "\"" }

    /// Without anything that could break out of a line of text: control characters are spelled out, and what is longer
    /// than `limit` characters is cut.
    package func printable(limit: Int) -> String {
        var result = ""
        for scalar in unicodeScalars.prefix(limit) {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned:
                result += "\\u{" + String(scalar.value, radix: 16) + "}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return unicodeScalars.count > limit ? result + "…" : result
    }
}

extension [String] {
    /// The name that was probably meant: at most two letters away (one, for short names).
    package func nearest(to name: String) -> String? {
        guard name.utf8.count <= 64 else { return nil }
        let letters = [Character](name)
        var best: (name: String, distance: Int)?
        for candidate in self {
            let distance = Self.distance(letters, [Character](candidate))
            let bound = Swift.min(letters.count, candidate.count) <= 4 ? 1 : 2
            if distance <= bound, distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best?.name
    }

    /// Letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
    private static func distance(_ left: [Character], _ right: [Character]) -> Int {
        var beforeLast: [Int] = []
        var last = [Int](0...right.count)
        for row in left.indices {
            var current = [row + 1]
            for column in right.indices {
                let same = left[row] == right[column]
                var cost = Swift.min(last[column + 1] + 1, current[column] + 1, last[column] + (same ? 0 : 1))
                if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
                    cost = Swift.min(cost, beforeLast[column - 1] + 1)
                }
                current.append(cost)
            }
            (beforeLast, last) = (last, current)
        }
        return last[right.count]
    }
}
