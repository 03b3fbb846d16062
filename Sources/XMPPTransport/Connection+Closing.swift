internal import ModuleKit
internal import NIOCore
internal import XML
internal import XMPPCore
internal import XMPPServer

extension Connection {
    /// How long it may take to close, once it has been told everything.
    private static let farewellLimit = Duration.seconds(2)
    /// How long a handler may leave bytes of a peer that is gone unread.
    private static let leftoverLimit = Duration.seconds(30)

    /// Says the error and the end of the stream, if ours was opened since the last restart; before that there is
    /// nothing that they could be said in.
    func close(_ error: StreamError?) {
        switch phase {
        case .open: break
        case .announcing, .securing: return abort()
        case .moving, .moved:
            closeAfterMove = closeAfterMove ?? CloseRequest(error: error)
            return
        case .closing, .closed: return
        }
        if flags.contains(.headerSent), let output = outputForSending() {
            if let error { framing.write(error.element, into: output.bytes) }
            framing.writeClose(into: output.bytes)
        }
        moveTarget = nil
        beginClosing()
    }

    private func beginClosing() {
        phase = .closing
        held = []
        setTimer(.linger, after: origin.options.lingerTimeout)
        // What still comes is thrown away; but it has to be taken, so that the peer sees an end and not a reset.
        setReading(true)
        touch()
    }

    func abort() {
        guard phase != .closed, phase != .moved else { return }
        if phase != .closing {
            phase = .closing
            held = []
            moveTarget = nil
        }
        if let context {
            context.close(promise: nil)
        } else {
            flags.insert(.dead)
            touch()
        }
    }

    /// All was said. When the kernel has it, the peer is told that nothing follows, and has a moment to close itself:
    /// closing a socket with unread bytes could take what was just sent from it.
    func advanceClosing() {
        guard isEverythingWritten, !flags.contains(.dead), let context else { return }
        if flags.contains(.secured), !flags.contains(.saidGoodbye), let session {
            flags.insert(.saidGoodbye)
            nioLoop.resources.tls.clearOutput()
            session.end()
            flushScratch()
            guard isEverythingWritten, !flags.contains(.dead) else { return }
        }
        if flags.contains(.inputEnded) {
            context.close(promise: nil)
        } else if !flags.contains(.outputShutDown) {
            flags.insert(.outputShutDown)
            setTimer(.linger, after: min(Self.farewellLimit, origin.options.lingerTimeout))
            context.close(mode: .output, promise: nil)
        }
    }

    /// The peer sends nothing more, or is gone. What it sent before is still the handler's to hear, even if it is in
    /// a pause just now.
    func advanceEnd() {
        switch phase {
        case .open:
            guard !flags.contains(.paused), held.isEmpty else {
                if timer == nil { setTimer(.leftover, after: Self.leftoverLimit) }
                return
            }
            if flags.contains(.dead) { finish() } else { beginClosing() }
        case .announcing, .securing: if flags.contains(.dead) { finish() } else { abort() }
        case .closing: if flags.contains(.dead) { finish() } else { advanceClosing() }
        case .moving: break
        case .moved, .closed: break
        }
    }

    /// The one place where a handler hears that its stream is over.
    func finish() {
        guard phase != .closed else { return }
        let isClean = flags.contains(.streamEnded)
        phase = .closed
        cancelTimer()
        if let context {
            self.context = nil
            descriptor = -1
            context.close(promise: nil)
        }
        if flags.contains(.warm) {
            nioLoop.resources.forget(self)
            rest()
        }
        if let handler {
            handler.disconnected(clean: isClean)
            self.handler = nil
        }
        // Only now may receipts go: the handler knows that their stanzas were not written.
        output = nil
        backlog = nil
        session = nil
        held = []
    }
}
