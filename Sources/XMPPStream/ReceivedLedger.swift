/// Which of a client's stanzas are safe, so that no more is acknowledged than would survive (XEP-0198 §4).
///
/// A stanza that is owed keeping opens an obligation under a number that is never used again; the obligation closes in
/// any order, also after a resumption. The client may be told of the longest run from the first stanza without an open
/// obligation. Costs nothing while nothing is open; otherwise 24 bytes for each stanza behind the first open one.
///
/// After a resumption the client sends again all that it was not told of. What of it was handled before is recognised by
/// its mark, and takes over the obligation that it had.
public struct ReceivedLedger: Hashable, Sendable {
    private struct Entry: Hashable, Sendable {
        var number: UInt64
        /// 0: never recognised.
        var mark: UInt64
        var isSafe: Bool
    }

    /// Stanzas received and stanzas in the safe run, counted from the beginning of the session.
    private var receivedCount: UInt64 = 0
    private var safeCount: UInt64 = 0
    private var nextNumber: UInt64 = 0
    /// Received behind the safe run, oldest first, from `head` on.
    private var entries: [Entry] = []
    private var head = 0
    /// The number and the count of the first stanza since the last rewind: from there on both grow together.
    private var firstNumber: UInt64 = 0
    private var firstCount: UInt64 = 0
    /// The counts of stanzas that were sent again and are open under the number that they had before.
    private var moved: [UInt64: UInt64] = [:]
    /// What was handled and may come once more.
    private var repeatable: [Entry] = []
    /// Stanzas after which nothing more is taken for a repetition: by then the client has sent what it had to.
    private var repetitionEnds = 0
    private let limit: Int

    /// - Parameter limit: stanzas behind the safe run at which `isFull` asks for a pause.
    public init(limit: Int = 1024) {
        self.limit = max(1, limit)
    }

    /// All stanzas that arrived, modulo 2^32.
    public var received: UInt32 { UInt32(truncatingIfNeeded: receivedCount) }
    /// What may be acknowledged.
    public var durableH: UInt32 { UInt32(truncatingIfNeeded: safeCount) }
    /// Stanzas that cannot be acknowledged yet.
    public var openCount: Int { Int(truncatingIfNeeded: receivedCount - safeCount) }
    /// Take no more stanzas until some obligation closes. A burst beyond it still counts right.
    public var isFull: Bool { openCount >= limit }
    /// Whether a stanza that is owed nothing needs a mark nevertheless: it will not be acknowledged at once, or it may
    /// have been handled before.
    public var needsMarks: Bool { openCount > 0 || !repeatable.isEmpty }

    // MARK: Arriving

    /// A stanza that has to be kept arrived: the number that closes its obligation.
    ///
    /// - Parameter mark: equal for equal stanzas; 0: it is not recognised if it comes again.
    public mutating func receive(mark: UInt64 = 0) -> UInt64 {
        append(Entry(number: nextNumber, mark: mark, isSafe: false))
    }

    /// A stanza arrived that is owed nothing.
    public mutating func receiveSafe(mark: UInt64 = 0) {
        _ = append(Entry(number: nextNumber, mark: mark, isSafe: true))
    }

    /// True: this stanza was handled before a resumption and is counted again now; it must not be handled once more.
    public mutating func recognise(mark: UInt64) -> Bool {
        guard mark != 0, let index = repeatable.firstIndex(where: { $0.mark == mark }) else { return false }
        let entry = repeatable.remove(at: index)
        if !entry.isSafe { moved[entry.number] = receivedCount }
        _ = append(entry)
        return true
    }

    private mutating func append(_ entry: Entry) -> UInt64 {
        nextNumber += 1
        receivedCount += 1
        if !repeatable.isEmpty {
            repetitionEnds -= 1
            if repetitionEnds <= 0 { repeatable = [] }
        }
        if entry.isSafe, entries.isEmpty {
            safeCount += 1
        } else {
            entries.append(entry)
        }
        return entry.number
    }

    // MARK: Closing

    /// The stanza is kept, delivered or answered. True: `durableH` has advanced. Numbers that are not open are ignored.
    public mutating func close(_ number: UInt64) -> Bool {
        guard let count = count(of: number) else {
            if let index = repeatable.firstIndex(where: { $0.number == number }) { repeatable[index].isSafe = true }
            return false
        }
        guard count >= safeCount, count < receivedCount else { return false }
        let index = head + Int(count - safeCount)
        guard entries.indices.contains(index), entries[index].number == number else { return false }
        entries[index].isSafe = true
        guard index == head else { return false }
        advance()
        return true
    }

    private mutating func count(of number: UInt64) -> UInt64? {
        if number >= firstNumber { return firstCount + (number - firstNumber) }
        return moved.removeValue(forKey: number)
    }

    private mutating func advance() {
        while head < entries.count, entries[head].isSafe {
            head += 1
            safeCount += 1
        }
        if head == entries.count {
            entries.removeAll(keepingCapacity: entries.capacity <= 8)
            head = 0
        } else if head >= 64, head * 2 >= entries.count {
            entries.removeFirst(head)
            head = 0
        }
    }

    /// The client was told no more than the safe run, and sends all behind it again.
    public mutating func rewind() {
        let again = entries[head...].filter { $0.mark != 0 } + repeatable
        repeatable = Array(again.prefix(4 * limit))
        repetitionEnds = 2 * repeatable.count + 16
        (entries, head, moved) = ([], 0, [:])
        receivedCount = safeCount
        (firstNumber, firstCount) = (nextNumber, receivedCount)
    }
}
