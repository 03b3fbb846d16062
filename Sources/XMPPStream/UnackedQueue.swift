/// What was sent and not acknowledged, oldest first, bounded by count and bytes.
public struct UnackedQueue<Entry> {
    @usableFromInline
    struct Slot {
        @usableFromInline var entry: Entry
        @usableFromInline var bytes: Int

        @inlinable
        init(entry: Entry, bytes: Int) {
            self.entry = entry
            self.bytes = bytes
        }
    }

    /// Nil: taken out; only in front of `head`.
    @usableFromInline var slots: [Slot?] = []
    @usableFromInline var head = 0
    @usableFromInline var weight = 0
    public var maxCount: Int
    public var maxBytes: Int

    public init(maxCount: Int, maxBytes: Int) {
        self.maxCount = maxCount
        self.maxBytes = maxBytes
    }

    @inlinable public var count: Int { slots.count - head }
    /// The sum of what the entries were said to weigh.
    @inlinable public var byteCount: Int { weight }
    @inlinable public var isEmpty: Bool { count == 0 }
    /// The oldest.
    @inlinable public var first: Entry? { isEmpty ? nil : slots[head]?.entry }

    /// The entry at this place, counted from the oldest; nil: there is none.
    @inlinable
    public func entry(at index: Int) -> (entry: Entry, bytes: Int)? {
        guard index >= 0, index < count, let slot = slots[head + index] else { return nil }
        return (slot.entry, slot.bytes)
    }

    /// Adds the newest entry. False: it is in, and the queue is beyond a bound, so that the session has to end or
    /// detach.
    @inlinable
    public mutating func append(_ entry: Entry, bytes: Int) -> Bool {
        slots.append(Slot(entry: entry, bytes: bytes))
        weight += bytes
        return count <= maxCount && byteCount <= maxBytes
    }

    /// Takes the oldest entry out.
    @inlinable
    public mutating func popFirst() -> Entry? {
        guard head < slots.count, let slot = slots[head] else { return nil }
        slots[head] = nil
        head += 1
        weight -= slot.bytes
        if head == slots.count {
            // Room for a few, so that an idle session stays small and a chatting one does not allocate.
            slots.removeAll(keepingCapacity: slots.capacity <= 8)
            head = 0
        } else if head >= 32, head * 2 >= slots.count {
            slots.removeFirst(head)
            head = 0
        }
        return slot.entry
    }

    /// Drops the oldest entries, as an acknowledgement asks for.
    @inlinable
    public mutating func removeFirst(_ count: Int) {
        for _ in 0..<Swift.max(0, Swift.min(count, self.count)) { _ = popFirst() }
    }

    /// Takes everything out, oldest first.
    @inlinable
    public mutating func removeAll() -> [Entry] {
        let entries = Array(self)
        slots = []
        head = 0
        weight = 0
        return entries
    }
}

extension UnackedQueue: Sendable where Entry: Sendable {}
extension UnackedQueue.Slot: Sendable where Entry: Sendable {}

/// Oldest first.
extension UnackedQueue: Sequence {
    public struct Iterator: IteratorProtocol {
        @usableFromInline var slots: ArraySlice<Slot?>

        @inlinable
        init(_ slots: ArraySlice<Slot?>) {
            self.slots = slots
        }

        @inlinable
        public mutating func next() -> Entry? {
            slots.popFirst().flatMap { $0?.entry }
        }
    }

    @inlinable
    public func makeIterator() -> Iterator {
        Iterator(slots[head...])
    }

    @inlinable public var underestimatedCount: Int { count }
}
