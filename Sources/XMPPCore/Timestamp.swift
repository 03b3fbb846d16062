/// A moment as XMPP writes it (XEP-0082), in milliseconds since 1970-01-01T00:00:00Z.
///
/// Years 1 to 9999 of the Gregorian calendar; anything else is not read and cannot be written.
public struct Timestamp: Hashable, Sendable, Comparable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.milliseconds < right.milliseconds
    }

    /// Whether a clock that is right could have shown it while there was a Martlet: the years 2026 to 2199. What is
    /// outside was stamped by a clock that was wrong, so nothing may be dropped because of it.
    public var isPlausible: Bool { (Self.firstPlausible..<Self.endOfPlausible).contains(self) }

    /// 2026-01-01, before the first release.
    public static let firstPlausible = Timestamp(milliseconds: 1_767_225_600_000)
    /// 2200-01-01.
    private static let endOfPlausible = Timestamp(milliseconds: 7_258_118_400_000)

    /// Reads a DateTime: `2002-09-10T23:08:25Z`, with a fraction and an offset if it has them; nil: not one. Digits
    /// behind the millisecond are dropped; a leap second is not a DateTime.
    public init?(_ string: String) {
        var reader = Reader(string)
        guard let year = reader.number(4), reader.take("-"), let month = reader.number(2), reader.take("-"),
            let day = reader.number(2), reader.take("T"), let hour = reader.number(2), reader.take(":"),
            let minute = reader.number(2), reader.take(":"), let second = reader.number(2),
            let fraction = reader.fraction(), let offset = reader.offset(), reader.isAtEnd,
            (1...9999).contains(year), (1...12).contains(month), (1...Self.days(in: month, of: year)).contains(day),
            hour < 24, minute < 60, second < 60
        else { return nil }
        let seconds = Self.days(toYear: year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        milliseconds = Int64(seconds) * 1000 + Int64(fraction)
        // An offset can lead out of the calendar.
        guard (Self.first...Self.last).contains(milliseconds) else { return nil }
    }

    private static func days(in month: Int, of year: Int) -> Int {
        switch month {
        case 2: (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01; the year begins in March, so that the leap day is its last.
    private static func days(toYear year: Int, _ month: Int, _ day: Int) -> Int {
        let year = month <= 2 ? year - 1 : year
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return 365 * year + year / 4 - year / 100 + year / 400 + dayOfYear - 719_468
    }

    /// The opposite, for days in the years 1 to 9999.
    private static func date(ofDay day: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = day + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth + (shiftedMonth < 10 ? 3 : -9)
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    private static let first: Int64 = -62_135_596_800_000
    private static let last: Int64 = 253_402_300_799_999
}

extension Timestamp: CustomStringConvertible {
    /// The DateTime in UTC; milliseconds only if there are any. A moment outside the years 1 to 9999 is written as
    /// the nearest inside.
    public var description: String {
        let total = min(max(milliseconds, Self.first), Self.last)
        let (days, rest) = Self.divide(total, by: 86_400_000)
        let (year, month, day) = Self.date(ofDay: days)
        let seconds = rest / 1000
        var text = "\(Self.padded(year, 4))-\(Self.padded(month, 2))-\(Self.padded(day, 2))T"
        text += "\(Self.padded(seconds / 3600, 2)):\(Self.padded(seconds / 60 % 60, 2)):\(Self.padded(seconds % 60, 2))"
        if rest % 1000 != 0 { text += ".\(Self.padded(rest % 1000, 3))" }
        return text + "Z"
    }

    private static func divide(_ value: Int64, by divisor: Int64) -> (Int, Int) {
        var (quotient, rest) = value.quotientAndRemainder(dividingBy: divisor)
        if rest < 0 {
            quotient -= 1
            rest += divisor
        }
        return (Int(quotient), Int(rest))
    }

    private static func padded(_ value: Int, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}

extension Timestamp {
    private struct Reader {
        private var bytes: Substring.UTF8View

        init(_ string: String) {
            bytes = string[...].utf8
        }

        var isAtEnd: Bool { bytes.isEmpty }

        mutating func take(_ character: Unicode.Scalar) -> Bool {
            guard let first = bytes.first, UInt32(first) == character.value else { return false }
            bytes.removeFirst()
            return true
        }

        private mutating func digit() -> Int? {
            guard let first = bytes.first, (0x30...0x39).contains(first) else { return nil }
            bytes.removeFirst()
            return Int(first) - 0x30
        }

        mutating func number(_ digits: Int) -> Int? {
            var value = 0
            for _ in 0..<digits {
                guard let next = digit() else { return nil }
                value = value * 10 + next
            }
            return value
        }

        /// Milliseconds; nil: a point without digits, or more digits than anybody needs.
        mutating func fraction() -> Int? {
            guard take(".") else { return 0 }
            var value = 0
            var count = 0
            while let next = digit() {
                guard count < 32 else { return nil }
                if count < 3 { value = value * 10 + next }
                count += 1
            }
            guard count > 0 else { return nil }
            for _ in count..<max(count, 3) { value *= 10 }
            return value
        }

        /// Seconds east of Greenwich.
        mutating func offset() -> Int? {
            if take("Z") { return 0 }
            let sign = take("+") ? 1 : take("-") ? -1 : 0
            guard sign != 0, let hours = number(2), take(":"), let minutes = number(2), hours <= 14, minutes < 60 else {
                return nil
            }
            return sign * (hours * 3600 + minutes * 60)
        }
    }
}
