public import ModuleKit
public import XMPPCore
public import XMPPServer
internal import XMPPTransport

/// What the client's end of a connection in memory hears.
protocol MemoryPeer: AnyObject {
    /// False: it leaves its bytes in the network, and the server's kernel has to stop taking more.
    var isReading: Bool { get }
    func read(_ bytes: [UInt8])
    /// Nothing more will come.
    func ended()
    /// The server has let the connection go, and with it what its kernel had not taken.
    func serverEnded()
}

/// A connection without a socket: framing, both directions and all that can happen to them, in the simulation's order.
///
/// Bytes for the client first wait for the kernel to take them (then their receipts go), then for the client to read
/// them. TLS is only said to be there.
public final class MemoryTransport: StreamTransport {
    enum Event: CaseIterable {
        case serverReads
        case kernelTakes
        case clientReads
        case serverEnds
    }

    private enum Phase { case open, moving, closing, closed }

    struct Sent {
        let bytes: [UInt8]
        /// Called when the server begins to read them.
        let arrived: (() -> Void)?
    }

    private struct Rendered {
        var bytes: [UInt8]
        var receipts: [Receipt]
    }

    public private(set) var loop: any Loop
    public let peer: PeerInfo
    public private(set) var tls: TLSInfo?
    public var handler: (any StreamHandler)?
    /// The addresses in the client's certificate.
    let certificate: [String]
    let name: String
    public private(set) var lastHeard: Instant
    private let simulation: SimulatedLoops
    private let framing: any Framing
    private var client: (any MemoryPeer)?
    private var phase = Phase.open

    private var toServer: [Sent] = []
    private var isClientGone = false
    private var isPaused = false
    private var isFramingPaused = false
    private var isDeaf = false
    private var startsTLS = false
    private var resumes = false
    private var moveTarget: (any Loop)?
    private var closeAfterMove: StreamError??
    private var hasStreamEnded = false
    private var isTouched = false
    private var hasOpened = false

    private var rendered: [Rendered] = []
    private var queued: [Rendered] = []
    private var wire: [[UInt8]] = []
    private var wantsWritable = false
    private var mailOfLastTaken: Int?
    private let buffer = OutputBuffer()

    init(
        _ simulation: SimulatedLoops, loop: SimulatedLoop, framing: any Framing, client: any MemoryPeer, isSecure: Bool,
        certificate: [String] = [], from address: String = "192.0.2.1", name: String
    ) {
        self.certificate = certificate
        peer = PeerInfo(address: address, port: 4242)
        self.simulation = simulation
        self.loop = loop
        self.framing = framing
        self.client = client
        self.name = name
        lastHeard = loop.now
        if isSecure { tls = TLSInfo(version: "TLSv1.3", cipher: "in memory", serverName: nil) }
        simulation.add(self)
    }

    public func channelBinding(_ type: ChannelBindingType) -> [UInt8]? { nil }

    public func certifiedAddresses(for host: String) -> [String] { tls == nil ? [] : certificate }

    public var limits: XMLLimits {
        get { framing.limits }
        set { framing.limits = newValue }
    }

    // MARK: The client's side

    func sendToServer(_ bytes: [UInt8], arrived: (() -> Void)? = nil) {
        guard !isClientGone else { return }
        toServer.append(Sent(bytes: bytes, arrived: arrived))
    }

    /// The client's end is gone. What it had sent may have reached the server: all but the last `lost` pieces do.
    func cut(losing lost: Int = 0) {
        toServer.removeLast(min(lost, toServer.count))
        isClientGone = true
    }

    var piecesInFlight: Int { toServer.count }

    // MARK: What can happen

    func forEachEvent(_ body: (Event) -> Void) {
        if phase == .open, !isPaused, moveTarget == nil, !toServer.isEmpty || isClientGone, knowsWhatWasTaken {
            body(.serverReads)
        }
        let takes = isClientGone || client?.isReading == true
        if !queued.isEmpty, takes { body(.kernelTakes) }
        if !wire.isEmpty || phase == .closed && client != nil && queued.isEmpty, takes { body(.clientReads) }
        if phase == .closing, queued.isEmpty || !takes { body(.serverEnds) }
    }

    /// What a client says having read some bytes comes after the loop's own mail about the kernel having taken them:
    /// the way over the network and back is longer.
    private var knowsWhatWasTaken: Bool {
        guard let mailOfLastTaken else { return true }
        guard simulation.gotFromSelf(loop.index) >= mailOfLastTaken else { return false }
        self.mailOfLastTaken = nil
        return true
    }

    func perform(_ event: Event) {
        switch event {
        case .serverReads: simulation.turn(loop.index) { serverReads() }
        case .kernelTakes: simulation.turn(loop.index) { kernelTakes() }
        case .clientReads: clientReads()
        case .serverEnds: simulation.turn(loop.index) { finish() }
        }
    }

    private func serverReads() {
        guard !toServer.isEmpty else { return finish() }
        let sent = toServer.removeFirst()
        lastHeard = loop.now
        guard !isDeaf else { return }
        simulation.trace?("\(name) says: \(String(decoding: sent.bytes, as: UTF8.self))")
        sent.arrived?()
        framing.feed(sent.bytes) { deliver($0) }
        framing.rest()
    }

    private func kernelTakes() {
        let taken = queued.removeFirst()
        if !taken.bytes.isEmpty { wire.append(taken.bytes) }
        let hasReceipts = !taken.receipts.isEmpty
        _ = consume taken
        if hasReceipts { mailOfLastTaken = simulation.sentToSelf(loop.index) }
        if wantsWritable, pendingBytes < 16 << 10 {
            wantsWritable = false
            handler?.writable()
        }
    }

    private func clientReads() {
        if wire.isEmpty {
            client?.ended()
            client = nil
            simulation.remove(self)
        } else {
            let bytes = wire.removeFirst()
            simulation.trace?("\(name) is told: \(String(decoding: bytes, as: UTF8.self))")
            client?.read(bytes)
        }
    }

    // MARK: Reading

    private func deliver(_ event: StreamEvent) -> Directive {
        guard phase == .open, let handler else { return .stop }
        let wish: Directive
        switch event {
        case .opened(let header): wish = handler.streamOpened(header)
        case .element(let element): wish = handler.received(element)
        case .closed:
            hasStreamEnded = true
            handler.streamEnded()
            wish = .stop
        case .failed(let error):
            handler.streamFailed(error)
            wish = .stop
        }
        guard phase == .open, !startsTLS else { return .stop }
        if moveTarget != nil {
            (isPaused, isFramingPaused) = (true, true)
            return .pause
        }
        switch wish {
        case .proceed: break
        case .pause: (isPaused, isFramingPaused) = (true, true)
        case .stop: isDeaf = true
        }
        return wish
    }

    public func resumeReading() {
        resumes = true
        touch()
    }

    private func goOn() {
        isPaused = false
        guard isFramingPaused else { return }
        isFramingPaused = false
        framing.resume { deliver($0) }
    }

    public func restart() {
        hasOpened = false
        framing.restart()
    }

    public func startTLS() {
        startsTLS = true
        touch()
    }

    private func secure() {
        startsTLS = false
        // Clear bytes behind <starttls/>.
        guard framing.takeLeftover().isEmpty, toServer.isEmpty else { return abort() }
        tls = TLSInfo(version: "TLSv1.3", cipher: "in memory", serverName: nil)
        restart()
        handler?.tlsEstablished()
    }

    // MARK: Writing

    private func render(_ receipt: Receipt? = nil, _ body: (OutputBuffer) -> Void) {
        guard phase == .open || phase == .moving else { return }
        buffer.removeAll()
        body(buffer)
        rendered.append(Rendered(bytes: buffer.withBytes { Array($0) }, receipts: receipt.map { [$0] } ?? []))
        touch()
    }

    public func open(_ header: StreamHeader) {
        hasOpened = true
        render { framing.writeOpen(header, into: $0) }
    }

    public func send(_ element: Element) {
        render { framing.write(element, into: $0) }
    }

    public func keepAlive() {
        if !framing.isMessageBased, pendingBytes == 0 { render { $0.append(" ") } }
    }

    public func send(_ stanza: Stanza, receipt: Receipt?) {
        render(receipt) { framing.write(stanza, into: $0) }
    }

    public var pendingBytes: Int {
        rendered.reduce(0) { $0 + $1.bytes.count } + queued.reduce(0) { $0 + $1.bytes.count }
    }

    public func notifyWhenWritable() {
        wantsWritable = true
    }

    private func touch() {
        guard !isTouched else { return }
        isTouched = true
        loop.defer_ { [self] in endTurn() }
    }

    private func endTurn() {
        isTouched = false
        flush()
        if startsTLS { secure() }
        if moveTarget != nil { return move() }
        if resumes, phase == .open {
            resumes = false
            lastHeard = loop.now
            goOn()
        }
    }

    private func flush() {
        guard !rendered.isEmpty else { return }
        if framing.isMessageBased {
            queued += rendered
        } else {
            queued.append(Rendered(bytes: rendered.flatMap(\.bytes), receipts: rendered.flatMap(\.receipts)))
        }
        rendered = []
    }

    // MARK: Moving

    public func rehome(to loop: any Loop) {
        moveTarget = loop
        touch()
    }

    private func move() {
        guard phase == .open, let target = moveTarget as? SimulatedLoop else { return }
        if target === loop { return arrive(on: target) }
        phase = .moving
        let moving = Moving(transport: self)
        target.post(.work { moving.transport.arrive(on: target) })
    }

    /// Touched by the loop it leaves, then by the one it comes to.
    private struct Moving: @unchecked Sendable {
        let transport: MemoryTransport
    }

    private func arrive(on target: SimulatedLoop) {
        (loop, phase, moveTarget, resumes) = (target, .open, nil, false)
        framing.move(to: target.parsers)
        handler?.rehomed()
        if let request = closeAfterMove { close(request) }
        if phase == .open, moveTarget == nil { goOn() }
    }

    // MARK: Ending

    public func close(_ error: StreamError?) {
        switch phase {
        case .open: break
        case .moving:
            closeAfterMove = closeAfterMove ?? .some(error)
            return
        case .closing, .closed: return
        }
        if hasOpened {
            if let error { render { framing.write(error.element, into: $0) } }
            render { framing.writeClose(into: $0) }
        }
        touch()
        (phase, moveTarget) = (.closing, nil)
    }

    public func abort() {
        guard phase != .closed else { return }
        (phase, moveTarget) = (.closing, nil)
        stranded += rendered + queued
        (rendered, queued) = ([], [])
        touch()
    }

    /// What will never be written; its receipts go when the handler knows.
    private var stranded: [Rendered] = []

    private func finish() {
        guard phase != .closed else { return }
        phase = .closed
        stranded += rendered + queued
        (rendered, queued) = ([], [])
        if let handler {
            self.handler = nil
            handler.disconnected(clean: hasStreamEnded)
        }
        stranded = []
        toServer = []
        client?.serverEnded()
    }
}
