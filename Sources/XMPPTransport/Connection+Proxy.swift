internal import NIOCore
internal import XMPPServer

extension Connection {
    /// From now on the proxy has so much time to say for whom it has connected. The handler is made when that is known:
    /// limits count the client's address, not the proxy's.
    func awaitAnnouncement() {
        phase = .announcing
        setTimer(.announcement, after: origin.options.handshakeTimeout)
    }

    func collectAnnouncement(_ bytes: UnsafeRawBufferPointer) {
        held.append(contentsOf: bytes)
        switch held.withUnsafeBytes({ ProxyHeader.check($0) }) {
        case .incomplete: break
        case .refused:
            origin.counters.announcementsRefused.increment()
            abort()
        case .complete(let count, let client):
            let rest = Array(held[count...])
            held = []
            cancelTimer()
            if let client { peer = client }
            phase = .open
            welcome()
            if !rest.isEmpty { rest.withUnsafeBytes { ingest($0) } }
        }
    }

    /// The client is known: it gets a handler.
    func welcome() {
        handler = origin.makeHandler(self)
        if origin.options.security == .direct, phase == .open { awaitHandshake() }
    }
}
