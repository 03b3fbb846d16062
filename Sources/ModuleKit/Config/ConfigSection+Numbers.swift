/// Options that are numbers of some unit. A range without an end has only a least value.
extension ConfigSection {
    // Whole numbers

    public mutating func int(
        _ key: String, default value: Int, in range: ClosedRange<Int>, _ doc: String
    ) -> Int {
        number(key, .int, value, range.lowerBound, range.upperBound, doc) ?? value
    }

    public mutating func int(
        _ key: String, default value: Int, in range: PartialRangeFrom<Int>, _ doc: String
    ) -> Int {
        number(key, .int, value, range.lowerBound, nil, doc) ?? value
    }

    /// Nil if the file does not say.
    public mutating func int(_ key: String, in range: ClosedRange<Int>, _ doc: String) -> Int? {
        number(key, .int, nil, range.lowerBound, range.upperBound, doc)
    }

    /// A number that must be there; the lower bound, with an error in the report, if it is not.
    public mutating func requiredInt(_ key: String, in range: ClosedRange<Int>, _ doc: String) -> Int {
        number(key, .int, nil, range.lowerBound, range.upperBound, isRequired: true, doc) ?? range.lowerBound
    }

    // Times: `500ms`, `30s`, `10m`, `1h`, `90d`, `2w`, and sums like `1h30m`

    public mutating func duration(
        _ key: String, default value: Duration, in range: ClosedRange<Duration>, _ doc: String
    ) -> Duration {
        number(key, .duration, value, range.lowerBound, range.upperBound, doc) ?? value
    }

    public mutating func duration(
        _ key: String, default value: Duration, in range: PartialRangeFrom<Duration>, _ doc: String
    ) -> Duration {
        number(key, .duration, value, range.lowerBound, nil, doc) ?? value
    }

    /// Nil if the file does not say.
    public mutating func duration(_ key: String, in range: ClosedRange<Duration>, _ doc: String) -> Duration? {
        number(key, .duration, nil, range.lowerBound, range.upperBound, doc)
    }

    // Sizes: `4096`, `256KiB`, `4MiB`, `1GiB`

    public mutating func bytes(
        _ key: String, default value: Int, in range: ClosedRange<Int>, _ doc: String
    ) -> Int {
        number(key, .bytes, value, range.lowerBound, range.upperBound, doc) ?? value
    }

    public mutating func bytes(
        _ key: String, default value: Int, in range: PartialRangeFrom<Int>, _ doc: String
    ) -> Int {
        number(key, .bytes, value, range.lowerBound, nil, doc) ?? value
    }

    /// Nil if the file does not say.
    public mutating func bytes(_ key: String, in range: ClosedRange<Int>, _ doc: String) -> Int? {
        number(key, .bytes, nil, range.lowerBound, range.upperBound, doc)
    }

    private mutating func number<Value: Comparable>(
        _ key: String, _ unit: ConfigUnit<Value>, _ value: Value?, _ least: Value, _ most: Value?,
        isRequired: Bool = false, _ doc: String
    ) -> Value? {
        let range = most.map { "\(unit.write(least))...\(unit.write($0))" } ?? "at least \(unit.write(least))"
        return read(key, unit.name, value.map(unit.write), range, isRequired: isRequired, doc) { scalar in
            switch unit.parse(scalar) {
            case .failure(let reason): return .failure(reason)
            case .success(let value):
                if value < least { return .failure("\(scalar.text) is too small, allowed is \(range)") }
                if let most, value > most { return .failure("\(scalar.text) is too large, allowed is \(range)") }
                return .success(value)
            }
        }
    }
}

/// How values of one kind are read and written.
struct ConfigUnit<Value> {
    let name: String
    let parse: (ConfigText) -> ConfigText.Parsed<Value>
    let write: (Value) -> String
}

extension ConfigUnit<Int> {
    static var int: ConfigUnit<Int> { ConfigUnit(name: "number", parse: ConfigText.int, write: { String($0) }) }
    static var bytes: ConfigUnit<Int> {
        ConfigUnit(name: "size", parse: ConfigText.bytes, write: ConfigText.write(bytes:))
    }
}

extension ConfigUnit<Duration> {
    static var duration: ConfigUnit<Duration> {
        ConfigUnit(name: "duration", parse: ConfigText.duration, write: ConfigText.write(duration:))
    }
}

extension Duration {
    public static func minutes(_ count: Int64) -> Duration { .seconds(count.saturatingTimes(60)) }
    public static func hours(_ count: Int64) -> Duration { .seconds(count.saturatingTimes(3600)) }
    public static func days(_ count: Int64) -> Duration { .seconds(count.saturatingTimes(86_400)) }
}

extension Int64 {
    fileprivate func saturatingTimes(_ factor: Int64) -> Int64 {
        let (product, overflow) = multipliedReportingOverflow(by: factor)
        return overflow ? (self < 0 ? .min / 1000 : .max / 1000) : product
    }
}
