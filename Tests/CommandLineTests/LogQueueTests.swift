import Dispatch
import Foundation
import Synchronization
import Testing

@testable import martlet

/// A place for lines whose reader reads when the test says so.
private final class Place: Sendable {
    private let written = Mutex<[String]>([])
    private let isFailing = Mutex(false)
    private let steps: DispatchSemaphore?
    let entered = DispatchSemaphore(value: 0)

    init(isStopped: Bool = false) {
        steps = isStopped ? DispatchSemaphore(value: 0) : nil
    }

    var lines: [String] { written.withLock { $0 } }

    func fail(_ isFailing: Bool) { self.isFailing.withLock { $0 = isFailing } }

    func read(_ count: Int) { for _ in 0..<count { steps?.signal() } }

    func write(_ line: [UInt8]) -> Bool {
        entered.signal()
        steps?.wait()
        if isFailing.withLock({ $0 }) { return false }
        written.withLock { $0.append(String(decoding: line, as: UTF8.self)) }
        return true
    }

    func queue(lines: Int = 100, bytes: Int = 10_000) -> LogQueue {
        LogQueue(limits: .init(lines: lines, bytes: bytes), notice: { Array("\($0) dropped".utf8) }) { self.write($0) }
    }
}

extension LogQueue {
    fileprivate func add(_ lines: some Sequence<Int>) {
        for line in lines { add(Array(String(line).utf8)) }
    }
}

@Suite struct `The queue of log lines` {
    private let long = DispatchTimeInterval.seconds(20)

    @Test func `keeps their order`() {
        let place = Place()
        let queue = place.queue()
        queue.add(1...50)
        #expect(queue.flush(within: long))
        #expect(place.lines == (1...50).map(String.init))
        #expect(queue.dropped == 0)
    }

    @Test func `drops what a reader that has stopped leaves no room for, and says how much it was`() {
        let place = Place(isStopped: true)
        let queue = place.queue(lines: 4)
        queue.add(1...10)
        #expect(queue.dropped == 6)
        place.read(6)
        #expect(queue.flush(within: long))
        #expect(place.lines == ["1", "2", "3", "4", "6 dropped"])
        queue.add(11...11)
        #expect(queue.flush(within: long))
        #expect(place.lines.last == "11")
        #expect(queue.dropped == 6)
    }

    @Test func `takes lines again when half of it is free, so that not every other line tells of dropped ones`() {
        let place = Place(isStopped: true)
        let queue = place.queue(lines: 4)
        queue.add(1...5)
        place.entered.wait()
        place.read(1)
        place.entered.wait()
        // Three are left.
        queue.add(6...6)
        place.read(1)
        place.entered.wait()
        queue.add(7...7)
        place.read(10)
        #expect(queue.flush(within: long))
        #expect(place.lines == ["1", "2", "3", "4", "2 dropped", "7"])
    }

    @Test func `is bounded in bytes too`() {
        let place = Place(isStopped: true)
        let queue = place.queue(bytes: 100)
        for _ in 0..<3 { queue.add(Array(repeating: UInt8(ascii: "x"), count: 40)) }
        #expect(queue.dropped == 1)
        place.read(3)
        #expect(queue.flush(within: long))
        #expect(place.lines.map(\.count) == [40, 40, 9])
    }

    @Test func `counts what could not be written, and tells of it with the next line`() {
        let place = Place()
        let queue = place.queue()
        place.fail(true)
        queue.add(1...3)
        #expect(queue.flush(within: long))
        #expect(queue.dropped == 3)
        place.fail(false)
        queue.add(4...4)
        #expect(queue.flush(within: long))
        #expect(place.lines == ["3 dropped", "4"])
        #expect(queue.dropped == 3)
    }

    @Test func `is given up at the end if nobody reads`() {
        let place = Place(isStopped: true)
        let queue = place.queue()
        queue.add(1...1)
        #expect(!queue.flush(within: .milliseconds(1)))
        place.read(1)
        #expect(queue.flush(within: long))
    }

    @Test func `has room for last words`() {
        let place = Place(isStopped: true)
        let queue = place.queue(lines: 2)
        queue.add(1...3)
        queue.add(Array("last".utf8), always: true)
        place.read(10)
        #expect(queue.flush(within: long))
        #expect(place.lines == ["1", "2", "1 dropped", "last"])
    }
}

@Suite struct `A standard descriptor` {
    private let ends: [Int32]

    init() {
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        self.ends = ends
    }

    @Test func `is written to in full though it does not block`() {
        #expect(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        let (bytes, reader) = ([UInt8](repeating: 1, count: 1 << 20), ends[0])
        let received = Mutex(0)
        let end = DispatchSemaphore(value: 0)
        Thread {
            var chunk = [UInt8](repeating: 0, count: 10_000)
            while case let count = read(reader, &chunk, chunk.count), count > 0 { received.withLock { $0 += count } }
            end.signal()
        }.start()
        #expect(StandardDescriptors.write(bytes, to: ends[1]) == bytes.count)
        close(ends[1])
        end.wait()
        close(ends[0])
        #expect(received.withLock { $0 } == bytes.count)
    }

    @Test func `whose reader is gone loses what is written`() {
        close(ends[0])
        #expect(StandardDescriptors.write([1, 2, 3], to: ends[1]) == 0)
        #expect(errno == EPIPE)
        close(ends[1])
    }
}
