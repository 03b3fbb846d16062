import Testing
import XML

/// Streams that are nearly right: no trap, and the same events however they are cut.
@Suite struct MutationTests {
    private static let base = header + PushParserTests.stanzas

    @Test(arguments: 0..<8)
    func `a damaged stream says the same whole and in pieces`(seed: UInt64) {
        var random = SeededGenerator(seed)
        let bytes = Array(Self.base.utf8)
        let damage: [UInt8] = Array("<>&'\"/=!?-[]:; \n\rax0\u{0}".utf8) + [0xFF, 0xC3, 0xE2, 0xEF, 0xBB, 0xBF]
        for _ in 0..<400 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let place = Int.random(in: 0..<damaged.count, using: &random)
                switch Int.random(in: 0...3, using: &random) {
                case 0: damaged.remove(at: place)
                case 1: damaged.insert(damage.randomElement(using: &random) ?? 0, at: place)
                case 2: damaged[place] = damage.randomElement(using: &random) ?? 0
                default: damaged.removeSubrange(place..<min(damaged.count, place + 10))
                }
            }
            // Whatever tag or quote is open: the end of the tag, which makes everything held back be looked at.
            damaged += Array(">\">'>".utf8)
            let whole = strict(damaged)
            for size in [1, 2, 5, Int.random(in: 1...100, using: &random)] {
                #expect(strict(damaged, in: size) == whole, "\(String(decoding: damaged, as: UTF8.self))")
            }
        }
    }

    /// A broken instruction is both forbidden and no XML; which is said first depends on the cut.
    private func strict(_ bytes: [UInt8], in size: Int = .max) -> [Seen] {
        events(bytes, in: size).map { $0 == .failed(.restrictedXML) ? .failed(.notWellFormed) : $0 }
    }
}
