import ModuleKit
import XMPPStream

/// Clients that say nothing.
extension ClientSession {
    var silence: Duration {
        // While we do not read, what the client says does not reach us.
        guard let transport, !isPaused else { return .zero }
        return .nanoseconds(shard.loop.now.nanoseconds - transport.lastHeard.nanoseconds)
    }

    func disconnect(_ error: StreamError) {
        guard resumption != nil else { return close(error) }
        guard let transport else { return }
        self.transport = nil
        transport.handler = nil
        transport.abort()
        detach()
    }

    /// Begins to watch for the kernel and the modules of the table as they are now; ends what was watched before.
    func watchSilence() {
        state[SilenceWatch.self]?.stop()
        state[SilenceWatch.self] = nil
        let limits = shard.settings.limits.authenticated
        guard !hasEnded, let handlers = table?.silence else { return }
        guard !handlers.isEmpty || limits.idle != nil || limits.keepalive != nil else { return }
        var awaited = handlers.map { Silence(after: $0.after, handler: $0.handler) }
        if let keepalive = limits.keepalive {
            awaited.append(
                Silence(after: keepalive, isRepeated: true) { ($0 as? ClientSession)?.transport?.keepAlive() })
        }
        if let idle = limits.idle {
            awaited.append(
                Silence(after: idle) { session in
                    (session as? ClientSession)?.shard.counts.idle += 1
                    session.disconnect(.connectionTimeout)
                })
        }
        state[SilenceWatch.self] = SilenceWatch(self, awaited)
    }
}

/// What is done about a client that was silent for so long.
struct Silence {
    let after: Duration
    /// Again after the same time, if it is silent still.
    var isRepeated = false
    let handler: (any Session) -> Void
}

/// Waits for a session's client to be silent, for each one that wants to know. Its timers look when the client was
/// heard last, so that what is heard costs nothing more than being noted.
final class SilenceWatch: TimerTarget {
    // Until one of them ends the other: no weak reference, which would make each retain of the session slow.
    private var session: ClientSession?
    private let loop: any Loop
    private let awaited: [Silence]
    private var timers: [TimerToken]
    /// When the client was heard last before the silence that the handler knows of.
    private var told: [Instant?]

    init(_ session: ClientSession, _ awaited: [Silence]) {
        self.session = session
        loop = session.shard.loop
        self.awaited = awaited
        told = Array(repeating: nil, count: awaited.count)
        timers = []
        for (index, silence) in awaited.enumerated() {
            timers.append(loop.schedule(after: silence.after, self, tag: index))
        }
    }

    func stop() {
        for timer in timers { loop.cancel(timer) }
        session = nil
    }

    func timerFired(_ tag: Int) {
        guard let session, !session.hasEnded else { return }
        let after = awaited[tag].after
        let silence = session.silence
        guard silence >= after, let heard = session.transport?.lastHeard else {
            return wait(for: max(after - silence, .milliseconds(1)), tag)
        }
        wait(for: after, tag)
        guard told[tag] != heard || awaited[tag].isRepeated else { return }
        told[tag] = heard
        awaited[tag].handler(session)
    }

    private func wait(for delay: Duration, _ tag: Int) {
        timers[tag] = loop.schedule(after: delay, self, tag: tag)
    }
}
