import Glibc

/// The result of one run: printed once for people and once as a line of JSON.
struct Report {
    private var entries: [(key: String, text: String, json: String)] = []

    init(_ mode: String) {
        self["mode"] = mode
    }

    subscript(key: String) -> String {
        get { entries.first { $0.key == key }?.text ?? "" }
        set { entries.append((key, newValue, Self.quoted(newValue))) }
    }

    mutating func set(_ key: String, _ value: Int) {
        entries.append((key, "\(value)", "\(value)"))
    }

    mutating func set(_ key: String, _ value: Bool) {
        entries.append((key, value ? "yes" : "no", value ? "true" : "false"))
    }

    /// Rounded to two digits; left out when there is none (not measured, or nothing to divide by).
    mutating func set(_ key: String, _ value: Double?) {
        guard let value, value.isFinite else { return }
        let rounded = (value * 100).rounded() / 100
        entries.append((key, "\(rounded)", "\(rounded)"))
    }

    mutating func set(_ latencies: Histogram) {
        for (key, share) in [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999)] {
            set(key, Double(latencies.percentile(share)) / 1000)
        }
        set("max_us", Double(latencies.maximum) / 1000)
    }

    func print() {
        let readable = entries.map { "\($0.key)=\($0.text)" }.joined(separator: " ")
        Swift.print(readable)
        Swift.print(json)
        fflush(nil)
    }

    /// One line.
    private var json: String {
        "{\(entries.map { "\(Self.quoted($0.key)): \($0.json)" }.joined(separator: ", "))}"
    }

    func write(to path: String) throws {
        guard let file = fopen(path, "w") else {
            throw LoadFailure("cannot write \(path): \(String(cString: strerror(errno)))")
        }
        fputs("\(json)\n", file)
        guard fclose(file) == 0 else { throw LoadFailure("cannot write \(path)") }
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case _ where scalar.value < 0x20: result += " "
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

/// Why a run could not be measured.
struct LoadFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}
