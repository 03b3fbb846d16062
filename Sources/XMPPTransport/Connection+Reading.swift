internal import ModuleKit
internal import XML
internal import XMPPCore
internal import XMPPServer

extension Connection {
    /// Most bytes that are held back. A paused connection holds at most two reads; only a peer that closes while it
    /// is paused or moved gets all that the kernel has for it held, and that much is bounded too.
    private static let mostHeldBytes = 1024 * 1024
    /// Most bytes of TLS between two that carry data: key updates, refused renegotiations, empty records.
    private static let mostBarrenBytes = 64 * 1024

    private var isBlocked: Bool {
        !flags.isDisjoint(with: [.paused, .feeding, .securityRequested]) || moveTarget != nil
    }

    /// Nothing that arrives may be looked at now.
    private var mustHold: Bool { isBlocked || !held.isEmpty }

    /// Bytes from the socket.
    func ingest(_ bytes: UnsafeRawBufferPointer) {
        lastHeard = nioLoop.now
        switch phase {
        case .open:
            if flags.contains(.deaf) { return }
            if mustHold { hold(bytes) } else { consume(bytes) }
        case .announcing: collectAnnouncement(bytes)
        case .securing: consume(bytes)
        case .moving: hold(bytes)
        case .moved, .closing, .closed: break
        }
    }

    private func hold(_ bytes: UnsafeRawBufferPointer) {
        guard held.count + bytes.count <= Self.mostHeldBytes else { return abort() }
        held.append(contentsOf: bytes)
        setReading(false)
    }

    /// Bytes that may be looked at: now, and as a whole unless the handler has another wish.
    private func consume(_ bytes: UnsafeRawBufferPointer) {
        if session == nil, phase == .open {
            feed(bytes)
        } else {
            use()
            consumeRecords(bytes)
            restUnlessBusy()
        }
        // To the next one that has something to read: a few parsers stay in the cache where thousands would not.
        framing.rest()
    }

    private func feed(_ bytes: UnsafeRawBufferPointer) {
        flags.insert(.feeding)
        framing.feed(bytes) { deliver($0) }
        flags.remove(.feeding)
    }

    private func deliver(_ event: StreamEvent) -> Directive {
        guard phase == .open, let handler else { return .stop }
        let wish: Directive
        switch event {
        case .element(let element):
            wish = handler.received(element)
        case .opened(let header):
            if session == nil { addressedHost = header.to }
            wish = handler.streamOpened(header)
        case .closed:
            flags.insert(.streamEnded)
            handler.streamEnded()
            wish = .stop
        case .failed(let error):
            handler.streamFailed(error)
            wish = .stop
        }
        return directive(wish)
    }

    /// What the framing is told: the handler's wish, or what it asked of the transport meanwhile.
    private func directive(_ wish: Directive) -> Directive {
        guard phase == .open else { return .stop }
        if flags.contains(.securityRequested) { return .stop }
        if moveTarget != nil {
            flags.insert([.paused, .framingPaused])
            return .pause
        }
        switch wish {
        case .proceed: return .proceed
        case .pause:
            flags.insert([.paused, .framingPaused])
            return .pause
        case .stop:
            flags.insert(.deaf)
            return .stop
        }
    }

    // MARK: Going on

    func resumeNow() {
        flags.remove(.resumeRequested)
        guard phase == .open, moveTarget == nil else { return }
        // While nothing was read the peer was not silent.
        lastHeard = nioLoop.now
        goOn()
    }

    /// Handles what was held back: first what the framing has, then what came after it.
    func goOn() {
        flags.remove(.paused)
        if flags.contains(.framingPaused) {
            flags.remove(.framingPaused)
            flags.insert(.feeding)
            framing.resume { deliver($0) }
            flags.remove(.feeding)
            framing.rest()
            restUnlessBusy()
        }
        if phase == .open, !isBlocked, !held.isEmpty { consumeHeld() }
        if phase == .open, !mustHold { setReading(true) }
    }

    /// What is held can be more than a read; the handler gets it in pieces of that size, and may ask for a pause again
    /// at any of them.
    private func consumeHeld() {
        let bytes = held
        held = []
        bytes.withUnsafeBytes { bytes in
            var position = 0
            while position < bytes.count, phase == .open, !mustHold, !flags.contains(.deaf) {
                let end = min(position + LoopResources.receiveBytes, bytes.count)
                consume(UnsafeRawBufferPointer(rebasing: bytes[position..<end]))
                position = end
            }
            if phase == .open, !flags.contains(.deaf) { held.append(contentsOf: bytes[position...]) }
        }
    }

    // MARK: TLS

    /// Records, and before them the client's hello.
    private func consumeRecords(_ bytes: UnsafeRawBufferPointer) {
        guard flags.isDisjoint(with: [.awaitsHello, .awaitsSecondHello]) else { return collectHello(bytes) }
        process(bytes)
    }

    private func collectHello(_ bytes: UnsafeRawBufferPointer) {
        held.append(contentsOf: bytes)
        let isSecond = flags.contains(.awaitsSecondHello)
        switch held.withUnsafeBytes({ ClientHello.check($0, isSecond: isSecond) }) {
        case .incomplete: break
        case .refused: failSecurity()
        case .complete(let count):
            let hello = held
            held = []
            flags.remove([.awaitsHello, .awaitsSecondHello])
            guard isSecond || makeSession() else { return failSecurity() }
            hello.withUnsafeBytes { bytes in
                process(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                // Nothing, unless a client does not wait for the answer; it may be asked for a second hello.
                guard count < bytes.count, phase == .securing else { return }
                consumeRecords(UnsafeRawBufferPointer(rebasing: bytes[count...]))
            }
        }
    }

    private func process(_ bytes: UnsafeRawBufferPointer) {
        guard let session else { return }
        let scratch = nioLoop.resources.tls
        scratch.input = bytes
        scratch.clearOutput()
        barrenBytes &+= UInt32(bytes.count)
        if phase == .securing { shakeHands(session, scratch) }
        readRecords(session, scratch)
        let rest = scratch.input
        scratch.input = UnsafeRawBufferPointer(start: nil, count: 0)
        if phase == .open || phase == .moving, !rest.isEmpty, !flags.contains(.deaf) {
            // Before what arrived while these were looked at, if anything did.
            held.insert(contentsOf: rest, at: 0)
        }
        if barrenBytes > Self.mostBarrenBytes { failSecurity() }
    }

    private func shakeHands(_ session: TLSSession, _ scratch: TLSScratch) {
        let result = session.handshake(scratch)
        if result == .wantsMore, scratch.output.withBytes({ ClientHello.isRetry($0) }) {
            flags.insert(.awaitsSecondHello)
        }
        flushScratch()
        switch result {
        case .done: securityEstablished()
        case .wantsMore: break
        case .failed: failSecurity()
        }
    }

    private func readRecords(_ session: TLSSession, _ scratch: TLSScratch) {
        while phase == .open, flags.isDisjoint(with: [.paused, .dead, .deaf]), moveTarget == nil {
            let result = session.read(scratch)
            if !scratch.output.isEmpty { flushScratch() }
            switch result {
            case .bytes(let count):
                barrenBytes = 0
                feed(UnsafeRawBufferPointer(rebasing: scratch.plaintext[..<count]))
                if scratch.input.isEmpty, session.isDrained { return }
            case .wantsMore:
                return
            case .ended:
                // What follows the end is nobody's.
                flags.insert([.inputEnded, .deaf])
                touch()
                return
            case .failed:
                return abort()
            }
        }
    }
}
