internal import Glibc
internal import ModuleKit
internal import NIOConcurrencyHelpers
internal import NIOCore
internal import XML
internal import XMPPCore
internal import XMPPServer

/// One event loop of NIO as the server sees it.
///
/// What the loop does comes in turns. A turn handles the mail that has come in, tells the receiver, runs what was put
/// off to its end, and then lets each connection that was touched write once. Reading counts too: the bytes of all
/// connections that were readable at once are handled first, then comes one turn. A turn handles so much mail and no
/// more; what is left has its turn when the sockets have been looked after.
///
/// Confined to its thread, but for `post` and `index`.
final class NIOLoop: Loop, @unchecked Sendable {
    let index: Int
    let eventLoop: any EventLoop

    private struct Inbox {
        var mail: [Mail] = []
        /// A turn is to come, or is under way and will look again: nobody needs to wake the loop.
        var isAwake = false
        /// The loop is gone: mail has nowhere to go.
        var isClosed = false
    }

    /// Mail from elsewhere.
    private let inbox = NIOLockedValueBox(Inbox())
    /// Mail from this loop, which needs no lock.
    private var ownMail: [Mail] = []
    /// Mail that is being handled, and how much of it was.
    private var batch: [Mail] = []
    private var position = 0
    private var receiver: (any MailReceiver)?

    private var deferred: [() -> Void] = []
    /// Comes with the next turns but the one that is under way.
    private var postponed: [() -> Void] = []
    private var touched: ContiguousArray<Connection> = []
    private var endingTurn: ContiguousArray<Connection> = []
    private var isInTurn = false
    private var isTurnScheduled = false
    /// The sockets come first, and the next turn behind them.
    private var isResting = false
    /// Made once, and never changed: a closure per wake-up would be an allocation each.
    private var turn: @Sendable () -> Void = {}
    private var turnAfterRest: @Sendable () -> Void = {}

    private var clock = Instant(nanoseconds: 0)
    private var isClockFresh = false
    private var wheel: TimingWheel
    private var armed: (deadline: Instant, callback: NIOScheduledCallback)?

    /// What the connections of this loop share.
    let resources = LoopResources()

    init(index: Int, eventLoop: any EventLoop) {
        self.index = index
        self.eventLoop = eventLoop
        wheel = TimingWheel(now: Self.readClock())
        // The group holds its loops until their threads have ended.
        turn = { [unowned self] in
            isTurnScheduled = false
            // Mail that wakes the loop as it rests waits as well. A turn for each would keep it from the sockets.
            if !isResting { runTurn() }
        }
        turnAfterRest = { [unowned self] in
            isResting = false
            runTurn()
        }
    }

    // MARK: Mail

    func attach(_ receiver: any MailReceiver) {
        self.receiver = receiver
    }

    func post(_ mail: Mail) {
        if eventLoop.inEventLoop {
            ownMail.append(mail)
            scheduleTurn()
            return
        }
        let mustWake = inbox.withLockedValue { inbox in
            guard !inbox.isClosed else { return false }
            inbox.mail.append(mail)
            guard !inbox.isAwake else { return false }
            inbox.isAwake = true
            return true
        }
        if mustWake { eventLoop.execute(turn) }
    }

    /// Takes all mail there is; false: there was none, and the next mail from elsewhere wakes the loop.
    private func collectMail() -> Bool {
        guard isBatchDone else { return true }
        batch.removeAll(keepingCapacity: batch.capacity <= Self.keptCapacity)
        position = 0
        let isMore = inbox.withLockedValue { inbox in
            if inbox.mail.isEmpty {
                inbox.isAwake = isInTurn
                return false
            }
            swap(&inbox.mail, &batch)
            inbox.isAwake = true
            return true
        }
        if !isMore, !ownMail.isEmpty { swap(&batch, &ownMail) }
        return !batch.isEmpty
    }

    private var isBatchDone: Bool { position == batch.count }

    /// Handles what was collected, and what the loop sends itself meanwhile: before anything is written, that saves
    /// writes. Stops when the turn has had its share.
    private func deliverMail(_ share: inout Int, until end: Instant) {
        guard let receiver else {
            (batch, position) = ([], 0)
            ownMail.removeAll()
            return
        }
        while share > 0 {
            while position < batch.count, share > 0 {
                let isWork = if case .work = batch[position] { true } else { false }
                receiver.receive(batch[position])
                position += 1
                share -= 1
                // A page that was read can be much to do; a stanza is not.
                guard isWork || position & 63 == 0 else { continue }
                isClockFresh = false
                if now > end { share = 0 }
                // So many outputs at once would be memory that is needed once and never again.
                if touched.count > Self.mostTouched { endTurnOfConnections() }
            }
            guard isBatchDone, !ownMail.isEmpty else { return }
            batch.removeAll(keepingCapacity: batch.capacity <= Self.keptCapacity)
            position = 0
            swap(&batch, &ownMail)
        }
    }

    /// Mail that one turn handles before it goes back to the sockets.
    private static let share = 1024
    /// The same in time. A piece that has begun is done to its end.
    private static let turnTime = Duration.milliseconds(2)
    private static let keptCapacity = 16 * 1024
    /// Connections that may wait for the end of the turn while there is still mail.
    private static let mostTouched = 1024

    // MARK: Turns

    /// This connection wants to be heard at the end of this turn. Once per turn; it knows whether it has asked.
    @inline(__always)
    func touch(_ connection: Connection) {
        touched.append(connection)
        scheduleTurn()
    }

    func defer_(_ work: @escaping () -> Void) {
        assertCurrent()
        deferred.append(work)
        scheduleTurn()
    }

    /// Something other than mail is about to be handled: the time is not what it was.
    @inline(__always)
    func begin() {
        isClockFresh = false
    }

    @inline(__always)
    private func scheduleTurn() {
        guard !isInTurn, !isTurnScheduled, !isResting else { return }
        isTurnScheduled = true
        eventLoop.execute(turn)
    }

    private func runTurn() {
        guard !isInTurn else { return }
        isInTurn = true
        var share = Self.share
        isClockFresh = false
        let end = now.advanced(by: Self.turnTime)
        runPostponed()
        while true {
            isClockFresh = false
            if collectMail() { deliverMail(&share, until: end) }
            receiver?.turnEnded()
            runDeferred()
            endTurnOfConnections()
            guard ownMail.isEmpty, deferred.isEmpty, touched.isEmpty, isBatchDone else {
                if share > 0, !isOver(end) { continue }
                break
            }
            isInTurn = false
            guard collectMail() else { break }
            isInTurn = true
            if share <= 0 || isOver(end) { break }
        }
        isInTurn = false
        resources.large.endTurn()
        if !isBatchDone || !ownMail.isEmpty || !deferred.isEmpty || !touched.isEmpty || !postponed.isEmpty {
            rest()
        }
    }

    private func isOver(_ end: Instant) -> Bool {
        isClockFresh = false
        return now > end
    }

    /// The next turn comes behind the sockets. What is executed at once would come before them, for ever if there is
    /// always more of it; what has a deadline behind the tasks that are due now does not. One such task at a time: of
    /// two, one is always due when the other's turn ends.
    private func rest() {
        guard !isResting else { return }
        isResting = true
        eventLoop.scheduleTask(in: .microseconds(50), turnAfterRest)
    }

    func later(_ work: @escaping () -> Void) {
        assertCurrent()
        postponed.append(work)
        guard !isInTurn, !isTurnScheduled else { return }
        rest()
    }

    /// As much of it as there is time for: what takes long is put off so that others come between two pieces of it.
    private func runPostponed() {
        guard !postponed.isEmpty else { return }
        let work = postponed
        postponed = []
        let end = Self.readClock().advanced(by: Self.postponedTime)
        for (index, item) in work.enumerated() {
            item()
            guard Self.readClock() > end else { continue }
            postponed.insert(contentsOf: work[(index + 1)...], at: 0)
            return
        }
    }

    private static let postponedTime = Duration.milliseconds(1)

    private func runDeferred() {
        guard !deferred.isEmpty else { return }
        let work = deferred
        deferred.removeAll(keepingCapacity: true)
        for item in work { item() }
    }

    private func endTurnOfConnections() {
        guard !touched.isEmpty else { return }
        swap(&touched, &endingTurn)
        for connection in endingTurn { connection.endTurn(on: self) }
        endingTurn.removeAll(keepingCapacity: endingTurn.count <= Self.keptCapacity)
    }

    // MARK: Time

    var now: Instant {
        if !isClockFresh {
            clock = Self.readClock()
            isClockFresh = true
        }
        return clock
    }

    var wallClock: Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }

    /// The clock that NIO's deadlines are in.
    private static func readClock() -> Instant {
        Instant(nanoseconds: Int64(clamping: NIODeadline.now().uptimeNanoseconds))
    }

    func schedule(after delay: Duration, _ target: any TimerTarget, tag: Int) -> TimerToken {
        assertCurrent()
        let now = Self.readClock()
        let deadline = now.advanced(by: min(max(delay, .zero), .seconds(100 * 365 * 86_400)))
        let token = wheel.schedule(at: deadline, now: now, target, tag: tag)
        arm()
        return token
    }

    func cancel(_ token: TimerToken) {
        assertCurrent()
        wheel.cancel(token)
    }

    /// Sees to it that NIO calls when the wheel has something to do.
    private func arm() {
        guard let next = wheel.nextDeadline() else { return }
        if let armed {
            guard next < armed.deadline else { return }
            armed.callback.cancel()
        }
        let deadline = NIODeadline.uptimeNanoseconds(UInt64(max(0, next.nanoseconds)))
        guard let callback = try? eventLoop.scheduleCallback(at: deadline, handler: self) else { return }
        armed = (next, callback)
    }

    private func fireTimers() {
        armed = nil
        begin()
        let now = self.now
        while let timer = wheel.popDue(now: now) { timer.target.timerFired(timer.tag) }
        arm()
    }

    // MARK: Place

    func assertCurrent() {
        assert(eventLoop.inEventLoop, "called from another thread than the loop's")
    }

    /// After its thread has ended: mail is thrown away from now on.
    func dissolve() {
        // Letting go of mail lets go of receipts, which post to this very inbox: not under its lock.
        let undelivered = inbox.withLockedValue { inbox in
            inbox.isClosed = true
            defer { inbox.mail = [] }
            return inbox.mail
        }
        withExtendedLifetime(undelivered) {}
        receiver = nil
    }
}

extension NIOLoop: NIOScheduledCallbackHandler {
    func handleScheduledCallback(eventLoop: some EventLoop) {
        fireTimers()
    }
}
