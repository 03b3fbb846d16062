public import ModuleKit
public import XMPPServer
internal import XMPPTransport

/// One event loop of `SimulatedLoops`: its turns come when the simulation says so.
public final class SimulatedLoop: Loop, @unchecked Sendable {
    // Confined to the thread that steps the simulation; `post` may come from any.
    public let index: Int
    private weak let simulation: SimulatedLoops?
    private let clock: ManualClock
    var receiver: (any MailReceiver)?
    var deferred: [() -> Void] = []
    let parsers = ParserPool()

    init(index: Int, in simulation: SimulatedLoops, _ clock: ManualClock) {
        self.index = index
        self.simulation = simulation
        self.clock = clock
    }

    public var now: Instant { clock.now }
    public var wallClock: Timestamp { clock.wallClock }

    public func post(_ mail: Mail) {
        simulation?.post(mail, to: index)
    }

    public func schedule(after delay: Duration, _ target: any TimerTarget, tag: Int) -> TimerToken {
        guard let simulation else { return TimerToken(id: 0) }
        return simulation.schedule(at: now.advanced(by: delay), on: index, target, tag)
    }

    public func cancel(_ token: TimerToken) {
        simulation?.cancel(token)
    }

    public func defer_(_ work: @escaping () -> Void) {
        deferred.append(work)
    }

    public func later(_ work: @escaping () -> Void) {
        let work = Confined(work)
        post(.work { work.value() })
    }

    public func assertCurrent() {
        assert(simulation?.current == index, "touched from outside its loop")
    }

    public func attach(_ receiver: any MailReceiver) {
        self.receiver = receiver
    }
}
