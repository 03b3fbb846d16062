import Testing
import XMPPCore
import XMPPStream

@Suite struct ReceivedLedgerTests {
    @Test func `only what is closed without a gap may be acknowledged`() {
        var ledger = ReceivedLedger()
        #expect((0..<4).map { _ in ledger.receive() } == [0, 1, 2, 3])
        #expect(ledger.received == 4)
        #expect(ledger.durableH == 0)
        #expect(ledger.close(2) == false)
        #expect(ledger.durableH == 0)
        #expect(ledger.close(0) == true)
        #expect(ledger.durableH == 1)
        #expect(ledger.close(1) == true)
        #expect(ledger.durableH == 3)
        #expect(ledger.openCount == 1)
        #expect(ledger.close(3) == true)
        #expect(ledger.durableH == ledger.received)
    }

    @Test func `numbers that are not open are ignored`() {
        var ledger = ReceivedLedger()
        #expect(ledger.close(0) == false)
        _ = ledger.receive()
        _ = ledger.receive()
        #expect(ledger.close(2) == false)
        #expect(ledger.close(.max) == false)
        #expect(ledger.close(1) == false)
        #expect(ledger.close(1) == false)
        #expect(ledger.close(0) == true)
        #expect(ledger.close(0) == false)
        #expect(ledger.durableH == 2)
    }

    @Test func `a full ledger asks for a pause and still counts right`() {
        var ledger = ReceivedLedger(limit: 3)
        for _ in 0..<3 { _ = ledger.receive() }
        #expect(ledger.isFull)
        for _ in 0..<500 { _ = ledger.receive() }
        for sequence in (1..<503).reversed() { #expect(ledger.close(UInt64(sequence)) == false) }
        #expect(ledger.close(0) == true)
        #expect(ledger.durableH == 503)
        #expect(!ledger.isFull)
    }

    @Test func `whatever the order, it agrees with a set`() {
        var generator = SplitMix(state: 198)
        for _ in 0..<40 {
            var ledger = ReceivedLedger(limit: 64)
            var open: [UInt64] = []
            var received: UInt64 = 0
            for _ in 0..<2000 {
                if open.isEmpty || (Int.random(in: 0..<5, using: &generator) < 3 && open.count < 400) {
                    open.append(ledger.receive())
                    received += 1
                } else {
                    let back = Int.random(in: 0..<min(open.count, 100), using: &generator)
                    let index = Bool.random(using: &generator) ? back : open.count - 1 - back
                    let before = ledger.durableH
                    let advanced = ledger.close(open.remove(at: index))
                    #expect(advanced == (ledger.durableH != before))
                }
                #expect(UInt64(ledger.durableH) == open.min() ?? received)
                #expect(UInt64(ledger.received) == received)
            }
        }
    }

    @Test func `what is owed nothing is safe at once, unless something before it is not`() {
        var ledger = ReceivedLedger()
        ledger.receiveSafe()
        #expect(ledger.durableH == 1)
        let open = ledger.receive()
        ledger.receiveSafe()
        #expect(ledger.durableH == 1)
        #expect(ledger.close(open) == true)
        #expect(ledger.durableH == 3)
        #expect(!ledger.needsMarks)
    }

    @Test func `a receipt from before a resumption does not close a newer stanza`() {
        var ledger = ReceivedLedger()
        let old = ledger.receive(mark: 1)
        ledger.rewind()
        let precious = ledger.receive(mark: 2)
        #expect(precious != old)
        #expect(ledger.close(old) == false)
        #expect(ledger.durableH == 0)
        #expect(ledger.close(precious) == true)
        #expect(ledger.durableH == 1)
    }

    @Test func `what is sent again is recognised once and keeps its obligation`() {
        var ledger = ReceivedLedger()
        let first = ledger.receive(mark: 1)
        let second = ledger.receive(mark: 2)
        #expect(ledger.close(second) == false)
        ledger.rewind()
        #expect(ledger.received == 0)
        #expect(ledger.recognise(mark: 1) == true)
        #expect(ledger.recognise(mark: 2) == true)
        #expect(ledger.recognise(mark: 2) == false)
        #expect(ledger.received == 2)
        #expect(ledger.durableH == 0)
        #expect(ledger.close(first) == true)
        #expect(ledger.durableH == 2)
    }

    @Test func `an obligation that closes before its stanza comes again is closed then`() {
        var ledger = ReceivedLedger()
        let number = ledger.receive(mark: 1)
        ledger.rewind()
        #expect(ledger.close(number) == false)
        #expect(ledger.recognise(mark: 1) == true)
        #expect(ledger.durableH == 1)
    }

    @Test func `stanzas without a mark are never recognised, and repetitions end`() {
        var ledger = ReceivedLedger()
        _ = ledger.receive(mark: 0)
        _ = ledger.receive(mark: 7)
        ledger.rewind()
        #expect(ledger.recognise(mark: 0) == false)
        for _ in 0..<100 { ledger.receiveSafe(mark: 9) }
        #expect(ledger.recognise(mark: 7) == false)
        #expect(!ledger.needsMarks)
    }

    /// A client that loses its connection at any moment, is told any h in between, and sends again what it was not told
    /// of, beside new stanzas: each is handled once, and what is acknowledged is safe.
    @Test func `every stanza is handled once, and only what is safe is acknowledged, over any resumptions`() {
        for seed in 0..<200 as Range<UInt64> {
            var generator = SplitMix(state: seed)
            var ledger = ReceivedLedger(limit: 64)
            // The client's side.
            var next: UInt64 = 1
            var unacknowledged: [UInt64] = []
            var unsent: [UInt64] = []
            var told: UInt32 = 0
            // The server's side.
            var handled: Set<UInt64> = []
            var open: [(number: UInt64, stanza: UInt64)] = []
            var safe: Set<UInt64> = []
            func acknowledge(_ h: UInt32) {
                let count = Int(h &- told)
                #expect(count <= unacknowledged.count)
                for stanza in unacknowledged.prefix(count) { #expect(safe.contains(stanza)) }
                unacknowledged.removeFirst(min(count, unacknowledged.count))
                told = h
            }
            for _ in 0..<400 {
                switch Int.random(in: 0..<10, using: &generator) {
                case 0..<5:
                    let stanza: UInt64
                    if unsent.isEmpty {
                        guard unacknowledged.count < 60 else { continue }
                        stanza = next
                        next += 1
                        unacknowledged.append(stanza)
                    } else {
                        stanza = unsent.removeFirst()
                    }
                    if ledger.recognise(mark: stanza) { continue }
                    #expect(handled.insert(stanza).inserted, "seed \(seed): \(stanza) was handled twice")
                    if Bool.random(using: &generator) {
                        ledger.receiveSafe(mark: stanza)
                        safe.insert(stanza)
                    } else {
                        open.append((ledger.receive(mark: stanza), stanza))
                    }
                case 5..<8:
                    guard !open.isEmpty else { continue }
                    let closed = open.remove(at: Int.random(in: 0..<open.count, using: &generator))
                    safe.insert(closed.stanza)
                    _ = ledger.close(closed.number)
                case 8: acknowledge(ledger.durableH)
                default:
                    ledger.rewind()
                    acknowledge(ledger.durableH)
                    unsent = unacknowledged
                }
            }
            for stanza in unsent where !ledger.recognise(mark: stanza) {
                handled.insert(stanza)
                safe.insert(stanza)
                ledger.receiveSafe(mark: stanza)
            }
            for closed in open {
                safe.insert(closed.stanza)
                _ = ledger.close(closed.number)
            }
            acknowledge(ledger.durableH)
            #expect(unacknowledged.isEmpty, "seed \(seed)")
            #expect(handled.count == Int(next) - 1)
        }
    }
}

@Suite struct SentLedgerTests {
    static let quiet = AckRequestPolicy(stanzas: .max, atEndOfBurst: false)

    static func ledger(sent count: Int) -> SentLedger {
        var ledger = SentLedger()
        for _ in 0..<count { _ = ledger.send(quiet) }
        return ledger
    }

    @Test func `an answer frees what it covers`() {
        var ledger = Self.ledger(sent: 5)
        #expect(ledger.acknowledge(3) == .acked(3))
        #expect(ledger.outstanding == 2)
        #expect(ledger.acknowledge(3) == .ignore)
        #expect(ledger.acknowledge(5) == .acked(2))
        #expect(ledger.outstanding == 0)
    }

    @Test func `BAD-INPUTS 28: more than was sent ends the stream and says the numbers`() {
        for h in [6, 7, 1_000_000, UInt32.max] {
            var ledger = Self.ledger(sent: 5)
            guard case .streamError(let error) = ledger.acknowledge(h) else {
                Issue.record("accepted \(h)")
                continue
            }
            #expect(error.condition == .undefinedCondition)
            #expect(error.details.first?.isNamed("handled-count-too-high", .streamManagement) == true)
            #expect(error.details.first?[attribute: "h"] == String(h))
            #expect(error.details.first?[attribute: "send-count"] == "5")
            #expect(ledger.outstanding == 5)
        }
    }

    @Test func `BAD-INPUTS 28: an answer that was overtaken is ignored`() {
        var ledger = Self.ledger(sent: 5)
        #expect(ledger.acknowledge(4) == .acked(4))
        #expect(ledger.acknowledge(2) == .ignore)
        #expect(ledger.acknowledge(0) == .ignore)
        #expect(ledger.acknowledged == 4)
        // Before the beginning there was nothing to acknowledge.
        guard case .streamError = ledger.acknowledge(.max) else {
            Issue.record("accepted")
            return
        }
    }

    @Test func `BAD-INPUTS 28: the count wraps at 2^32`() {
        var ledger = SentLedger(resumingAt: UInt64(UInt32.max) - 1)
        for _ in 0..<4 { _ = ledger.send(Self.quiet) }
        #expect(ledger.sent == 2)
        #expect(ledger.acknowledge(.max) == .acked(1))
        #expect(ledger.acknowledge(1) == .acked(2))
        #expect(ledger.acknowledge(.max) == .ignore)
        guard case .streamError = ledger.acknowledge(3) else {
            Issue.record("accepted")
            return
        }
        #expect(ledger.acknowledge(2) == .acked(1))
    }

    @Test func `a question follows so many stanzas`() {
        let policy = AckRequestPolicy(stanzas: 3, atEndOfBurst: false)
        var ledger = SentLedger()
        #expect((0..<7).map { _ in ledger.send(policy) } == [false, false, true, false, false, true, false])
        #expect(ledger.burstEnded(policy) == false)
    }

    @Test func `a question follows a burst unless one is open or nothing is new`() {
        let policy = AckRequestPolicy(stanzas: 100)
        var ledger = SentLedger()
        #expect(ledger.burstEnded(policy) == false)
        _ = ledger.send(policy)
        #expect(ledger.burstEnded(policy) == true)
        #expect(ledger.burstEnded(policy) == false)
        _ = ledger.send(policy)
        #expect(ledger.burstEnded(policy) == false)
        #expect(ledger.awaitsAnswer)
        #expect(ledger.acknowledge(1) == .acked(1))
        #expect(ledger.burstEnded(policy) == true)
    }

    @Test func `what was asked on a lost connection is asked again`() {
        let policy = AckRequestPolicy(stanzas: 100)
        var ledger = SentLedger()
        _ = ledger.send(policy)
        _ = ledger.burstEnded(policy)
        ledger.detached()
        #expect(!ledger.awaitsAnswer)
        #expect(ledger.burstEnded(policy) == true)
    }
}

@Suite struct UnackedQueueTests {
    @Test func `entries leave in the order in which they came`() {
        var queue = UnackedQueue<Int>(maxCount: 1000, maxBytes: 100_000)
        for entry in 0..<200 { #expect(queue.append(entry, bytes: 10) == true) }
        queue.removeFirst(50)
        #expect(queue.count == 150)
        #expect(queue.byteCount == 1500)
        #expect(queue.first == 50)
        #expect(Array(queue) == Array(50..<200))
        #expect(queue.popFirst() == 50)
        queue.removeFirst(1_000_000)
        #expect(queue.isEmpty)
        #expect(queue.byteCount == 0)
        #expect(queue.popFirst() == nil)
        queue.removeFirst(-1)
    }

    @Test func `BAD-INPUTS 28: a client that never acknowledges reaches a bound`() {
        var byCount = UnackedQueue<Int>(maxCount: 3, maxBytes: 100)
        #expect((0..<4).map { byCount.append($0, bytes: 1) } == [true, true, true, false])
        #expect(byCount.count == 4)
        var byBytes = UnackedQueue<Int>(maxCount: 100, maxBytes: 100)
        #expect(byBytes.append(1, bytes: 100) == true)
        #expect(byBytes.append(2, bytes: 1) == false)
    }

    @Test func `it lets go of what it gave away`() {
        final class Entry {}
        var queue = UnackedQueue<Entry>(maxCount: 10, maxBytes: 10)
        var entry: Entry? = Entry()
        weak let watched = entry
        _ = queue.append(entry!, bytes: 1)
        _ = queue.append(Entry(), bytes: 1)
        entry = nil
        #expect(watched != nil)
        queue.removeFirst(1)
        #expect(watched == nil)
        #expect(queue.removeAll().count == 1)
        #expect(queue.isEmpty)
    }

    @Test func `it agrees with an array`() {
        var generator = SplitMix(state: 3)
        var queue = UnackedQueue<Int>(maxCount: .max, maxBytes: .max)
        var model: [Int] = []
        for step in 0..<5000 {
            if Bool.random(using: &generator) {
                _ = queue.append(step, bytes: step)
                model.append(step)
            } else {
                let count = Int.random(in: 0...4, using: &generator)
                queue.removeFirst(count)
                model.removeFirst(min(count, model.count))
            }
            #expect(queue.count == model.count)
            #expect(queue.byteCount == model.reduce(0, +))
        }
        #expect(queue.removeAll() == model)
    }
}

/// A small generator with a seed, so that a failure can be repeated.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
