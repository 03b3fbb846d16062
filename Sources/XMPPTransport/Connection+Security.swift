internal import NIOCore
internal import XMPPCore
internal import XMPPServer

extension Connection {
    /// STARTTLS, at the end of the turn in which it was asked for.
    ///
    /// The answer to `<starttls/>` goes out in clear. Anything that the client sent behind `<starttls/>` was sent, or
    /// put there by somebody on the way, before TLS: it must not be taken for what TLS protects (CVE-2011-0411). RFC
    /// 6120 §5.4.3.3 has the client send nothing, so such a stream ends at once, without the answer.
    func beginSecurity() {
        flags.remove(.securityRequested)
        guard phase == .open, session == nil else { return }
        // COMPAT(go-sendxmpp 0.5, 2026-11): a line feed behind <starttls/>. White space is thrown away, so it smuggles
        // nothing.
        let isInjected = [held, framing.takeLeftover()].contains { bytes in bytes.contains { !Self.isWhitespace($0) } }
        held = []
        guard !isInjected else {
            origin.counters.injections.increment()
            return abort()
        }
        guard origin.tls != nil else { return abort() }
        flush()
        guard !flags.contains(.dead) else { return }
        flags.remove([.paused, .framingPaused, .deaf, .headerSent])
        framing.restart()
        awaitHandshake()
        setReading(true)
    }

    private static func isWhitespace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
    }

    /// From now on the client has so much time to speak TLS.
    func awaitHandshake() {
        phase = .securing
        flags.insert(.awaitsHello)
        barrenBytes = 0
        setTimer(.handshake, after: origin.options.handshakeTimeout)
    }

    func makeSession() -> Bool {
        guard let context = origin.tls else { return false }
        // As the certificates name it, in whatever form the client wrote it.
        let host = addressedHost.flatMap { BareJID.domain($0)?.domain }
        session = TLSSession(context, host: host, scratch: nioLoop.resources.tls)
        return session != nil
    }

    func securityEstablished() {
        cancelTimer()
        phase = .open
        barrenBytes = 0
        addressedHost = nil
        flags.insert(.secured)
        origin.counters.handshakes.increment()
        handler?.tlsEstablished()
        touch()
    }

    /// OpenSSL has said why, if there was anybody to say it to.
    func failSecurity() {
        if phase == .securing { origin.counters.handshakeFailures.increment() }
        abort()
    }
}
