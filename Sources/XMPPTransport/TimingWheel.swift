internal import XMPPServer

/// The timers of one loop: a ring of slots, one per tick of 100 ms. Scheduling, cancelling and firing cost the same
/// whatever their number; a timer farther away than one turn of the ring (some seven minutes) is looked at once per
/// turn. Knows no clock: it is told what time it is.
///
/// A timer never fires early, and at most one tick late.
struct TimingWheel {
    static let tick: Int64 = 100_000_000
    private static let slotBits: UInt64 = 12
    private static let slots = 1 << Int(slotBits)

    /// One timer, or a free place: then `next` is the next free one.
    private struct Entry {
        var target: (any TimerTarget)?
        var tag = 0
        var due: UInt64 = 0
        /// Told apart by this are the timers that used the same place one after the other.
        var generation: UInt32 = 0
        var next: Int32 = -1
        var previous: Int32 = -1
    }

    private var entries: [Entry] = []
    private var free: Int32 = -1
    private var heads = [Int32](repeating: -1, count: slots)
    /// A bit per slot that holds something.
    private var occupied = [UInt64](repeating: 0, count: slots / 64)
    /// The tick that `popDue` is at; every earlier one is done.
    private var current: UInt64
    /// Where in the slot of `current` the search goes on.
    private var cursor: Int32 = -1
    private var isInsideSlot = false
    private(set) var count = 0

    init(now: Instant) {
        current = Self.ticks(now.nanoseconds)
    }

    private static func ticks(_ nanoseconds: Int64) -> UInt64 {
        UInt64(max(0, nanoseconds) / tick)
    }

    /// The first tick at whose beginning `nanoseconds` have passed.
    private static func ticksRoundedUp(_ nanoseconds: Int64) -> UInt64 {
        let nanoseconds = max(0, nanoseconds)
        return UInt64(nanoseconds / tick) + (nanoseconds % tick == 0 ? 0 : 1)
    }

    mutating func schedule(at deadline: Instant, now: Instant, _ target: any TimerTarget, tag: Int) -> TimerToken {
        if count == 0 { skip(to: now) }
        let index: Int32
        if free >= 0 {
            index = free
            free = entries[Int(index)].next
        } else {
            index = Int32(entries.count)
            entries.append(Entry())
        }
        // A slot that is being emptied gets nothing new, so that a timer that schedules itself cannot hold up the loop.
        let due = max(Self.ticksRoundedUp(deadline.nanoseconds), current + 1)
        let slot = Int(due & UInt64(Self.slots - 1))
        let head = heads[slot]
        entries[Int(index)].target = target
        entries[Int(index)].tag = tag
        entries[Int(index)].due = due
        entries[Int(index)].previous = -1
        entries[Int(index)].next = head
        if head >= 0 { entries[Int(head)].previous = index }
        heads[slot] = index
        occupied[slot / 64] |= 1 << UInt64(slot % 64)
        count += 1
        return TimerToken(id: UInt64(entries[Int(index)].generation) << 32 | UInt64(index))
    }

    /// Does nothing when the timer has fired or was cancelled.
    mutating func cancel(_ token: TimerToken) {
        let index = Int(token.id & 0xffff_ffff)
        guard index < entries.count, entries[index].target != nil,
            entries[index].generation == UInt32(truncatingIfNeeded: token.id >> 32)
        else { return }
        remove(Int32(index))
    }

    private mutating func remove(_ index: Int32) {
        let entry = entries[Int(index)]
        let slot = Int(entry.due & UInt64(Self.slots - 1))
        if cursor == index { cursor = entry.next }
        if entry.next >= 0 { entries[Int(entry.next)].previous = entry.previous }
        if entry.previous >= 0 {
            entries[Int(entry.previous)].next = entry.next
        } else {
            heads[slot] = entry.next
            if entry.next < 0 { occupied[slot / 64] &= ~(1 << UInt64(slot % 64)) }
        }
        entries[Int(index)].target = nil
        entries[Int(index)].generation &+= 1
        entries[Int(index)].next = free
        free = index
        count -= 1
    }

    /// Nothing can be due before `now`.
    private mutating func skip(to now: Instant) {
        let tick = Self.ticks(now.nanoseconds)
        guard tick > current else { return }
        current = tick
        isInsideSlot = false
        cursor = -1
    }

    /// Takes out one timer that is due by `now`; nil when none is left. Between two calls timers may come and go.
    mutating func popDue(now: Instant) -> (target: any TimerTarget, tag: Int)? {
        guard count > 0 else { return nil }
        let end = Self.ticks(now.nanoseconds)
        while current <= end {
            if !isInsideSlot {
                cursor = heads[Int(current & UInt64(Self.slots - 1))]
                isInsideSlot = true
            }
            while cursor >= 0 {
                let index = cursor
                let entry = entries[Int(index)]
                cursor = entry.next
                guard entry.due <= current, let target = entry.target else { continue }
                remove(index)
                return (target, entry.tag)
            }
            guard current < end else { return nil }
            isInsideSlot = false
            current = min(nextOccupied(after: current), end)
        }
        return nil
    }

    /// When to look again; nil: there are no timers. May be earlier than the first timer, never later.
    func nextDeadline() -> Instant? {
        guard count > 0 else { return nil }
        return Instant(nanoseconds: Int64(nextOccupied(after: current)) * Self.tick)
    }

    /// The next tick whose slot holds something; a whole turn ahead when only the present one does.
    private func nextOccupied(after tick: UInt64) -> UInt64 {
        let start = Int((tick + 1) & UInt64(Self.slots - 1))
        var word = start / 64
        var bits = occupied[word] & (~0 << UInt64(start % 64))
        for _ in 0...occupied.count {
            if bits != 0 {
                let slot = word * 64 + bits.trailingZeroBitCount
                return tick + 1 + UInt64((slot - start + Self.slots) & (Self.slots - 1))
            }
            word = (word + 1) % occupied.count
            bits = occupied[word]
        }
        return tick + UInt64(Self.slots)
    }
}
