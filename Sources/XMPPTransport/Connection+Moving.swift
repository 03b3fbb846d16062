internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import XMPPCore
internal import XMPPServer

/// Moving a connection to the loop of its account (DESIGN: re-homing). The socket is duplicated, the old channel is
/// closed, and the new loop makes a channel of the duplicate; NIO never shuts a socket down on closing, so the peer
/// notices nothing.
extension Connection {
    /// A peer that does not read what was sent before must not stop the move for ever.
    private static let drainLimit = Duration.seconds(5)
    private static let retryInterval = Duration.milliseconds(200)
    private static let mostAttempts = 10

    /// One step of the move; called at the end of a turn, until it is done.
    func advanceMove() {
        guard let target = moveTarget else { return }
        switch phase {
        case .open:
            guard target !== nioLoop else { return stay() }
            phase = .moving
        case .moving: break
        default: return
        }
        guard !flags.contains(.dead) else { return leave(nil, for: target) }
        guard isEverythingWritten else {
            // Goes on when the last chunk is written.
            setReading(false)
            if timer == nil { setTimer(.move, after: Self.drainLimit) }
            return
        }
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else {
            setTimer(.move, after: Self.retryInterval)
            return
        }
        leave(copy, for: target)
    }

    /// The peer did not read in time, or there was no descriptor.
    func retryMove() {
        guard phase == .moving else { return }
        guard isEverythingWritten else { return abort() }
        moveAttempts += 1
        guard moveAttempts < Self.mostAttempts else {
            // The listener leaves enough descriptors for this not to happen. If it does, the account's state is on a
            // loop that this connection cannot reach: better no stream than one that nobody owns.
            phase = .open
            moveTarget = nil
            return close(.resourceConstraint.saying("no descriptor left"))
        }
        touch()
    }

    /// Already there.
    private func stay() {
        moveTarget = nil
        flags.remove(.resumeRequested)
        handler?.rehomed()
        if phase == .open, moveTarget == nil { goOn() }
    }

    /// The last thing that happens on the old loop; without a descriptor when the peer is gone.
    private func leave(_ descriptor: CInt?, for target: NIOLoop) {
        cancelTimer()
        if flags.contains(.warm) {
            nioLoop.resources.forget(self)
            flags.remove([.warm, .usedSinceSweep])
        }
        if let output {
            // Empty: everything is written, or nobody is there to read it. What receipts it has stay with it.
            output.bytes.removeAll()
        }
        phase = .moved
        flags.remove([.readingOff, .inputEnded])
        let old = context
        context = nil
        self.descriptor = -1
        old?.close(promise: nil)
        guard let descriptor else {
            target.eventLoop.execute { self.arriveDead(on: target) }
            return
        }
        let peer = ClientBootstrap(group: target.eventLoop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    self.settle(on: target)
                    self.descriptor = descriptor
                    try Self.tune(channel, target)
                    try channel.pipeline.syncOperations.addHandler(self)
                }
            }
            .withConnectedSocket(descriptor)
        peer.whenFailure { _ in self.arriveDead(on: target) }
    }

    private func settle(on target: NIOLoop) {
        nioLoop = target
        framing.move(to: target.resources.parsers)
        session?.move(to: target.resources.tls)
    }

    /// On the new loop, with the new channel.
    func arrive() {
        phase = .open
        moveTarget = nil
        flags.remove(.resumeRequested)
        handler?.rehomed()
        if let request = closeAfterMove {
            closeAfterMove = nil
            close(request.error)
        }
        // Unless it moves on at once.
        if phase == .open, moveTarget == nil { goOn() }
        touch()
    }

    /// On the new loop, without a channel: what was received is handled, then the handler hears of the end.
    private func arriveDead(on target: NIOLoop) {
        guard phase == .moved else { return }
        if nioLoop !== target { settle(on: target) }
        flags.insert(.dead)
        arrive()
    }
}
