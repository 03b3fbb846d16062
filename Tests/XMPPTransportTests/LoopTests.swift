import Dispatch
import ModuleKit
import Testing
import XMPPServer

@testable import XMPPTransport

@Suite(.serialized) struct LoopTests {
    /// Counts what it gets, per sender.
    private final class Counter: MailReceiver, @unchecked Sendable {
        let expected: Int
        private(set) var sequences: [UInt64: UInt64] = [:]
        private(set) var received = 0
        private(set) var isInOrder = true
        private var isTurnOpen = false
        private(set) var turnsMissed = 0
        let done = Journal<Int>()

        init(expected: Int) {
            self.expected = expected
        }

        func receive(_ mail: consuming Mail) {
            switch mail {
            case .closed(let name):
                if sequences[name.session.id, default: 0] + 1 != name.sequence { isInOrder = false }
                sequences[name.session.id] = name.sequence
                received += 1
                isTurnOpen = true
                if received == expected { done.note(received) }
            case .work(let work): work()
            default: break
            }
        }

        func turnEnded() {
            isTurnOpen = false
        }
    }

    private func mail(from sender: UInt64, _ sequence: UInt64) -> Mail {
        .closed(Receipt(.received, of: SessionRef(loop: 0, id: sender), sequence: sequence, to: Nobody.shared).name)
    }

    private final class Nobody: ReceiptSink {
        static let shared = Nobody()

        func closed(_ receipt: Receipt.Name) {}
    }

    @Test func `mail of each sender arrives in the order it was posted`() async throws {
        let group = TransportGroup(loops: 3)
        let each: UInt64 = 20_000
        let threads: UInt64 = 3
        let senders = Int(threads) + group.loops.count
        let counters = group.loops.map { _ in Counter(expected: senders * Int(each)) }
        for (loop, counter) in zip(group.loops, counters) { loop.attach(counter) }

        // Each loop posts to all of them, itself included, in pieces.
        for (index, loop) in group.loops.enumerated() {
            @Sendable func post(_ from: UInt64) {
                for sequence in from..<min(from + 100, each + 1) {
                    for target in group.loops { target.post(mail(from: 100 + UInt64(index), sequence)) }
                }
                if from + 100 <= each { loop.post(.work { post(from + 100) }) }
            }
            loop.post(.work { post(1) })
        }
        DispatchQueue.concurrentPerform(iterations: Int(threads)) { thread in
            for sequence in 1...each {
                for target in group.loops { target.post(mail(from: UInt64(thread), sequence)) }
            }
        }
        for counter in counters {
            #expect(counter.done.wait { !$0.isEmpty })
            #expect(counter.isInOrder)
            #expect(counter.received == senders * Int(each))
        }
        await group.shutdown()
    }

    @Test func `what is deferred runs behind all mail of the turn, and may defer more`() async throws {
        let group = TransportGroup(loops: 1)
        let loop = group.loops[0]
        loop.attach(WorkReceiver())
        let journal = Journal<String>()
        loop.post(
            .work {
                loop.defer_ {
                    journal.note("deferred")
                    loop.defer_ { journal.note("deferred again") }
                    loop.post(.work { journal.note("later mail") })
                }
                loop.post(.work { journal.note("mail") })
                journal.note("first")
            })
        #expect(journal.wait { $0.count == 5 })
        #expect(journal.events.prefix(3) == ["first", "mail", "deferred"])
        #expect(Set(journal.events.suffix(2)) == ["deferred again", "later mail"])
        await group.shutdown()
    }

    private final class Bell: TimerTarget, @unchecked Sendable {
        let journal = Journal<Int>()

        func timerFired(_ tag: Int) {
            journal.note(tag)
        }
    }

    @Test func `timers fire on their loop, in time, unless they were cancelled`() async throws {
        let group = TransportGroup(loops: 1)
        let loop = group.loops[0]
        loop.attach(WorkReceiver())
        let bell = Bell()
        loop.post(
            .work {
                _ = loop.schedule(after: .milliseconds(250), bell, tag: 3)
                let cancelled = loop.schedule(after: .milliseconds(20), bell, tag: 9)
                _ = loop.schedule(after: .milliseconds(10), bell, tag: 1)
                loop.cancel(cancelled)
                // An hour's wait does not keep the others from firing.
                _ = loop.schedule(after: .seconds(3600), bell, tag: 10)
            })
        #expect(bell.journal.wait { $0.count == 2 })
        #expect(bell.journal.events == [1, 3])
        await group.shutdown()
    }

    @Test func `the time of a loop goes on, and only forward`() async throws {
        let group = TransportGroup(loops: 1)
        let loop = group.loops[0]
        loop.attach(WorkReceiver())
        let times = Journal<Int64>()
        @Sendable func look(_ left: Int) {
            times.note(loop.now.nanoseconds)
            if left > 0 { loop.post(.work { look(left - 1) }) }
        }
        loop.post(.work { look(100) })
        loop.post(.work { times.note(loop.now.nanoseconds) })
        #expect(times.wait { $0.count == 102 })
        #expect(times.events == times.events.sorted())
        await group.shutdown()
    }
}
