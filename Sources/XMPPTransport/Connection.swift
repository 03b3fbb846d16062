internal import ModuleKit
internal import NIOCore
internal import XML
internal import XMPPCore
internal import XMPPServer

/// One client's connection: the only handler of its channel, with the framing and, when it is secured, TLS in it.
///
/// Whatever is sent is rendered at once into an output that the loop lends, and written at the end of the turn. Nothing
/// calls the stream's handler from within a call of it: resuming, closing and moving are done at the end of the turn.
///
/// Confined to its loop. Between the two halves of a move it belongs to neither loop and nobody may call it.
final class Connection: @unchecked Sendable {
    enum Phase: UInt8 {
        case open
        /// Comes from a proxy that has not said for whom.
        case announcing
        /// TLS is being negotiated.
        case securing
        /// Still on the old loop; arriving bytes are held back.
        case moving
        /// Between the loops.
        case moved
        /// Everything was said; what is left is to be written.
        case closing
        /// `handler.disconnected` was called.
        case closed
    }

    struct Flags: OptionSet {
        var rawValue: UInt32

        /// In the loop's list for the end of this turn.
        static let touched = Flags(rawValue: 1 << 0)
        /// The handler is being told of what arrived.
        static let feeding = Flags(rawValue: 1 << 1)
        /// The handler asked for a pause.
        static let paused = Flags(rawValue: 1 << 2)
        /// The framing holds back what is behind the last element.
        static let framingPaused = Flags(rawValue: 1 << 3)
        /// Nothing more is read from this stream.
        static let deaf = Flags(rawValue: 1 << 4)
        static let resumeRequested = Flags(rawValue: 1 << 5)
        static let securityRequested = Flags(rawValue: 1 << 6)
        static let wantsWritable = Flags(rawValue: 1 << 7)
        /// NIO does not read.
        static let readingOff = Flags(rawValue: 1 << 8)
        /// The peer sends nothing more.
        static let inputEnded = Flags(rawValue: 1 << 9)
        /// The channel is gone.
        static let dead = Flags(rawValue: 1 << 10)
        /// The peer ended its stream.
        static let streamEnded = Flags(rawValue: 1 << 11)
        /// Our stream header was sent, so that its end has to be.
        static let headerSent = Flags(rawValue: 1 << 12)
        static let outputShutDown = Flags(rawValue: 1 << 13)
        static let saidGoodbye = Flags(rawValue: 1 << 14)
        /// Busy: keeps its parser and TLS buffers.
        static let warm = Flags(rawValue: 1 << 15)
        static let usedSinceSweep = Flags(rawValue: 1 << 16)
        static let awaitsHello = Flags(rawValue: 1 << 17)
        static let awaitsSecondHello = Flags(rawValue: 1 << 18)
        static let secured = Flags(rawValue: 1 << 19)
    }

    var nioLoop: NIOLoop
    let origin: ListenerState
    /// The client, also behind a proxy, as soon as that has said who it is.
    var peer: PeerInfo
    var handler: (any StreamHandler)?
    let framing: TCPStreamFraming

    var context: ChannelHandlerContext?
    /// Of the socket, while the channel is open.
    var descriptor: CInt
    var output: Output?
    /// Exists while the kernel does not take what is written.
    var backlog: Backlog?
    var session: TLSSession?
    var lastHeard: Instant
    /// Arrived and not looked at; TLS records where TLS is spoken.
    var held: [UInt8] = []
    /// TLS bytes that arrived since the last one of use.
    var barrenBytes: UInt32 = 0
    var moveAttempts: UInt8 = 0
    private var uses: UInt8 = 0
    private var usesEpoch: UInt32 = 0
    var phase = Phase.open
    var flags = Flags()
    var timer: TimerToken?
    var moveTarget: NIOLoop?
    /// The host that the client addressed, for the certificate.
    var addressedHost: String?
    /// An error to end the stream with as soon as a move is over.
    var closeAfterMove: CloseRequest?

    struct CloseRequest {
        var error: StreamError?
    }

    init(_ loop: NIOLoop, peer: PeerInfo, descriptor: CInt, origin: ListenerState) {
        nioLoop = loop
        self.descriptor = descriptor
        self.peer = peer
        self.origin = origin
        lastHeard = loop.now
        framing = TCPStreamFraming(pool: loop.resources.parsers, limits: origin.options.limits)
        origin.counters.live.increment()
    }

    deinit {
        origin.counters.live.decrement()
    }

    // MARK: Turns

    @inline(__always)
    func touch() {
        guard !flags.contains(.touched) else { return }
        flags.insert(.touched)
        nioLoop.touch(self)
    }

    func endTurn(on loop: NIOLoop) {
        flags.remove(.touched)
        guard phase != .closed else { return }
        if flags.contains(.resumeRequested) { resumeNow() }
        if flags.contains(.securityRequested) { beginSecurity() }
        flush()
        switch phase {
        case .open: if flags.contains(.wantsWritable) { tellWritable() }
        case .closing: advanceClosing()
        case .announcing, .securing, .moving, .moved, .closed: break
        }
        if !flags.isDisjoint(with: [.dead, .inputEnded]) { advanceEnd() }
        // A move is the last thing that happens here: nothing of this turn may be left on the loop.
        if moveTarget != nil, !flags.contains(.touched) { advanceMove() }
    }

    // MARK: Timers

    enum Deadline: Int {
        case announcement
        case handshake
        case linger
        case move
        case leftover
    }

    func setTimer(_ deadline: Deadline, after delay: Duration) {
        cancelTimer()
        timer = nioLoop.schedule(after: delay, self, tag: deadline.rawValue)
    }

    func cancelTimer() {
        if let timer { nioLoop.cancel(timer) }
        timer = nil
    }

    // MARK: Rest

    /// So many reads and writes between two sweeps make a connection busy.
    private static let busyUses: UInt8 = 16

    /// This connection is about to use a parser or TLS buffers. A busy one keeps them; any other gives them back at
    /// once, so that ten thousand logins in a row need no more of them than one.
    @inline(__always)
    func use() {
        if flags.contains(.warm) {
            flags.insert(.usedSinceSweep)
        } else {
            countUse()
        }
    }

    private func countUse() {
        let epoch = nioLoop.resources.epoch(nioLoop.now)
        if epoch != usesEpoch { (usesEpoch, uses) = (epoch, 0) }
        uses += 1
        guard uses >= Self.busyUses, phase == .open else { return }
        uses = 0
        flags.insert([.warm, .usedSinceSweep])
        nioLoop.resources.warmUp(self, on: nioLoop)
    }

    /// After a use.
    @inline(__always)
    func restUnlessBusy() {
        if !flags.contains(.warm) { rest() }
    }

    /// At a sweep; false: it gave up what it held.
    func staysWarm() -> Bool {
        guard flags.contains(.usedSinceSweep) else {
            rest()
            return false
        }
        flags.remove(.usedSinceSweep)
        return true
    }

    func rest() {
        flags.remove([.warm, .usedSinceSweep])
        framing.rest()
        if flags.contains(.secured) { session?.rest() }
    }
}

extension Connection: TimerTarget {
    func timerFired(_ tag: Int) {
        timer = nil
        switch Deadline(rawValue: tag) {
        case .announcement:
            origin.counters.announcementsRefused.increment()
            abort()
        case .handshake:
            origin.counters.handshakeTimeouts.increment()
            abort()
        case .linger: abort()
        case .move: retryMove()
        case .leftover: finish()
        case nil: break
        }
    }
}

extension Connection: StreamTransport {
    var loop: any Loop { nioLoop }
    var tls: TLSInfo? { flags.contains(.secured) ? session?.info : nil }

    func channelBinding(_ type: ChannelBindingType) -> [UInt8]? {
        flags.contains(.secured) ? session?.channelBinding(type) : nil
    }

    func certifiedAddresses(for host: String) -> [String] {
        flags.contains(.secured) ? session?.certifiedAddresses(for: host) ?? [] : []
    }

    var limits: XMLLimits {
        get { framing.limits }
        set { framing.limits = newValue }
    }

    func open(_ header: StreamHeader) {
        guard let output = outputForSending() else { return }
        flags.insert(.headerSent)
        framing.writeOpen(header, into: output.bytes)
    }

    func sendAnswer(h: UInt32) {
        guard let output = outputForSending() else { return }
        output.bytes.append("<a xmlns='urn:xmpp:sm:3' h='")
        output.bytes.append(raw: String(h))
        output.bytes.append("'/>")
    }

    func sendRequest() {
        outputForSending()?.bytes.append("<r xmlns='urn:xmpp:sm:3'/>")
    }

    /// What is under way already shows a broken connection as well.
    func keepAlive() {
        guard phase == .open, output == nil, backlog == nil, !framing.isMessageBased else { return }
        outputForSending()?.bytes.append(" ")
    }

    func send(_ element: Element) {
        guard let output = outputForSending() else { return }
        framing.write(element, into: output.bytes)
    }

    func send(_ stanza: Stanza, receipt: Receipt?) {
        if stanza.tree.byteCount >= LargeStanzas.size { return sendLarge(stanza, receipt: receipt) }
        guard let output = outputForSending() else { return keepForEnd(receipt) }
        framing.write(stanza, into: output.bytes)
        if let receipt { output.receipts.append(receipt) }
    }

    func notifyWhenWritable() {
        flags.insert(.wantsWritable)
        touch()
    }

    func startTLS() {
        guard phase == .open, session == nil else { return }
        flags.insert(.securityRequested)
        touch()
    }

    func restart() {
        flags.remove(.headerSent)
        framing.restart()
    }

    func rehome(to loop: any Loop) {
        guard phase == .open, let target = loop as? NIOLoop else { return }
        moveTarget = target
        moveAttempts = 0
        touch()
    }

    func resumeReading() {
        flags.insert(.resumeRequested)
        touch()
    }
}
