import Testing
import XMPPCore

@Suite struct TimestampTests {
    @Test(
        arguments: [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-07-21T02:56:15Z", -14_159_025_000),
            ("2002-09-10T23:08:25Z", 1_031_699_305_000),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("1600-02-29T12:00:00.010Z", -11_670_955_199_990),
        ] as [(String, Int64)])
    func `a moment is read and written as XEP-0082 has it`(_ text: String, _ milliseconds: Int64) {
        #expect(Timestamp(text)?.milliseconds == milliseconds)
        #expect(Timestamp(milliseconds: milliseconds).description == text)
    }

    @Test(arguments: [
        ("1969-07-20T21:56:15-05:00", "1969-07-21T02:56:15Z"),
        ("2002-09-11T00:08:25+01:00", "2002-09-10T23:08:25Z"),
        ("2002-09-10T23:08:25.1Z", "2002-09-10T23:08:25.100Z"),
        ("2002-09-10T23:08:25.123456789Z", "2002-09-10T23:08:25.123Z"),
    ])
    func `offsets and fractions become UTC and milliseconds`(_ text: String, _ canonical: String) {
        #expect(Timestamp(text)?.description == canonical)
    }

    @Test(arguments: [
        "", "2002-09-10", "2002-09-10T23:08:25", "2002-09-10 23:08:25Z", "2002-09-10T23:08:25z", "20020910T23:08:25",
        "2002-13-10T23:08:25Z", "2002-00-10T23:08:25Z", "2002-02-29T23:08:25Z", "1900-02-29T00:00:00Z",
        "2002-09-31T00:00:00Z", "2002-09-00T00:00:00Z", "2002-09-10T24:00:00Z", "2002-09-10T23:60:00Z",
        "2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "12002-09-10T23:08:25Z",
        "2002-09-10T23:08:25.Z", "2002-09-10T23:08:25+1:00", "2002-09-10T23:08:25+15:00", "2002-09-10T23:08:25ZZ",
        "２００２-09-10T23:08:25Z", "2002-09-10T23:08:25.1234567890123456789012345678901234567890Z",
        "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01",
    ])
    func `anything else is not a moment`(_ text: String) {
        #expect(Timestamp(text) == nil)
    }

    @Test func `every day of the calendar comes back`() {
        for day in stride(from: Int64(-719_162), through: 2_932_896, by: 13) {
            let moment = Timestamp(milliseconds: day * 86_400_000 + day & 0xFFFF)
            #expect(Timestamp(moment.description) == moment)
        }
    }

    @Test(arguments: [Int64.min, Int64.max])
    func `a moment outside the calendar is written as its edge`(_ milliseconds: Int64) {
        let year = milliseconds < 0 ? "0001-" : "9999-"
        #expect(Timestamp(milliseconds: milliseconds).description.hasPrefix(year))
    }
}
