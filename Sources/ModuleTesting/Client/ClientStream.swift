internal import XMPPCore
internal import XMPPTransport

/// The client's end of one connection: bytes to elements and back. When the connection is cut it goes on reading as a
/// ghost, so that a test knows what the client would have got.
final class ClientStream: MemoryPeer {
    let framing: any Framing
    private weak var client: TestClient?
    weak var transport: MemoryTransport?
    private(set) var isGhost = false
    /// Stream management was enabled or resumed on it.
    var isManaged = false
    private var hasEnded = false

    init(_ framing: any Framing, of client: TestClient) {
        self.framing = framing
        self.client = client
    }

    var isReading: Bool { client?.isReading ?? true }

    func read(_ bytes: [UInt8]) {
        if bytes == [0x20] { client?.keptAlive() }
        framing.feed(bytes) { event in
            guard let client else { return .stop }
            switch event {
            case .opened: break
            case .element(let tree):
                client.received(tree.root.element, on: self)
            case .closed: hasEnded = true
            case .failed(let error):
                // A ghost has not followed the negotiation.
                if !isGhost { client.record(error.element) }
                return .stop
            }
            return .proceed
        }
    }

    func ended() {
        if !isGhost { client?.connectionEnded(self) }
    }

    func serverEnded() {
        client?.onServerEnded?(isManaged)
    }

    func send(_ element: Element, arrived: (() -> Void)? = nil) {
        let output = OutputBuffer()
        framing.write(element, into: output)
        sendRaw(output.withBytes { Array($0) }, arrived: arrived)
    }

    func sendRaw(_ bytes: [UInt8], arrived: (() -> Void)? = nil) {
        transport?.sendToServer(bytes, arrived: arrived)
    }

    func open(to domain: String) {
        let output = OutputBuffer()
        framing.writeOpen(StreamHeader(to: domain, version: "1.0"), into: output)
        sendRaw(output.withBytes { Array($0) })
    }

    func close() {
        let output = OutputBuffer()
        framing.writeClose(into: output)
        sendRaw(output.withBytes { Array($0) })
    }

    func cut(losing lost: Int) {
        isGhost = true
        transport?.cut(losing: lost)
    }
}
