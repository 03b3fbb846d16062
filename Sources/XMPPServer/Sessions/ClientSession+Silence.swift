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

    /// Begins to watch for the modules of the table as it is now; ends what was watched for an earlier one.
    func watchSilence() {
        state[SilenceWatch.self]?.stop()
        state[SilenceWatch.self] = nil
        guard !hasEnded, let handlers = table?.silence, !handlers.isEmpty else { return }
        state[SilenceWatch.self] = SilenceWatch(self, handlers)
    }
}

/// Waits for a session's client to be silent, for each module that wants to know. Its timers look when the client was
/// heard last, so that what is heard costs nothing more than being noted.
final class SilenceWatch: TimerTarget {
    // Until one of them ends the other: no weak reference, which would make each retain of the session slow.
    private var session: ClientSession?
    private let loop: any Loop
    private let handlers: [SilenceHandler]
    private var timers: [TimerToken]
    /// When the client was heard last before the silence that the handler knows of.
    private var told: [Instant?]

    init(_ session: ClientSession, _ handlers: [SilenceHandler]) {
        self.session = session
        loop = session.shard.loop
        self.handlers = handlers
        told = Array(repeating: nil, count: handlers.count)
        timers = []
        for (index, handler) in handlers.enumerated() {
            timers.append(loop.schedule(after: handler.after, self, tag: index))
        }
    }

    func stop() {
        for timer in timers { loop.cancel(timer) }
        session = nil
    }

    func timerFired(_ tag: Int) {
        guard let session, !session.hasEnded else { return }
        let after = handlers[tag].after
        let silence = session.silence
        guard silence >= after, let heard = session.transport?.lastHeard else {
            return wait(for: max(after - silence, .milliseconds(1)), tag)
        }
        wait(for: after, tag)
        guard told[tag] != heard else { return }
        told[tag] = heard
        handlers[tag].handler(session)
    }

    private func wait(for delay: Duration, _ tag: Int) {
        timers[tag] = loop.schedule(after: delay, self, tag: tag)
    }
}
