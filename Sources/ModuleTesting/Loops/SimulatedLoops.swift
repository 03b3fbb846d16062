internal import ModuleKit
public import StorageMemory
internal import Synchronization
public import XMPPServer

/// Several event loops, a storage's threads and the network between clients and server, all run by one thread, one
/// step at a time; which of the things that could happen next does happen is chosen by a seeded generator.
///
/// The only order kept is the one that the real thing keeps: mail of one sender to one loop, bytes of one connection in
/// one direction, completions of the storage. A race of the server is therefore a seed.
public final class SimulatedLoops: JobExecutor, @unchecked Sendable {
    // Confined to the thread that steps, but for `incoming`, which is locked: the storage's callers and the pool that
    // derives keys post from elsewhere.
    public let clock = ManualClock()
    public private(set) var loops: [SimulatedLoop] = []
    /// The loop whose turn it is; one more than there are: none.
    private(set) var current: Int

    private struct Incoming {
        /// By sender, then target; the last sender is everybody who is no loop.
        var mailboxes: [[Mail]]
        var jobs: [@Sendable () -> Void] = []
        /// How much mail each loop has ever sent to itself, and got.
        var sentToSelf: [Int]
        var gotFromSelf: [Int]
        var isOver = false
    }

    struct Timer {
        let token: TimerToken
        let deadline: Instant
        let loop: Int
        let target: any TimerTarget
        let tag: Int
    }

    private enum Choice {
        case mail(Int)
        case job(Int)
        case timer(Int)
        case transport(MemoryTransport, MemoryTransport.Event)
    }

    private let incoming: Mutex<Incoming>
    private let count: Int
    /// Soonest first.
    private var timers: [Timer] = []
    private var lastTimer: UInt64 = 0
    private var transports: [MemoryTransport] = []
    private var choices: [Choice] = []
    /// Mail between different loops stays where it is.
    public var stallMail = false
    /// Mail from one loop for another that was not read.
    public var waitingMail: Int {
        incoming.withLock { incoming in
            incoming.mailboxes.indices.reduce(0) { isBetweenLoops($1) ? $0 + incoming.mailboxes[$1].count : $0 }
        }
    }

    private func isBetweenLoops(_ mailbox: Int) -> Bool {
        mailbox / count < count && mailbox / count != mailbox % count
    }

    /// What is chosen, for the trace of a failing run; nil: nobody wants to know.
    public var trace: ((String) -> Void)?

    public init(_ count: Int) {
        self.count = count
        current = count
        incoming = Mutex(
            Incoming(
                mailboxes: Array(repeating: [], count: (count + 1) * count),
                sentToSelf: Array(repeating: 0, count: count), gotFromSelf: Array(repeating: 0, count: count)))
        loops = (0..<count).map { SimulatedLoop(index: $0, in: self, clock) }
    }

    // MARK: From anywhere

    func post(_ mail: Mail, to target: Int) {
        let mailbox = current * count + target
        let isOwn = current == target
        incoming.withLock { incoming in
            guard !incoming.isOver else { return }
            incoming.mailboxes[mailbox].append(mail)
            if isOwn { incoming.sentToSelf[target] += 1 }
        }
    }

    /// How much mail the loop has sent to itself so far.
    func sentToSelf(_ loop: Int) -> Int { incoming.withLock { $0.sentToSelf[loop] } }
    /// How much of it the loop has read.
    func gotFromSelf(_ loop: Int) -> Int { incoming.withLock { $0.gotFromSelf[loop] } }

    public func run(_ job: @escaping @Sendable () -> Void) {
        incoming.withLock { if !$0.isOver { $0.jobs.append(job) } }
    }

    // MARK: Timers

    func schedule(at deadline: Instant, on loop: Int, _ target: any TimerTarget, _ tag: Int) -> TimerToken {
        lastTimer += 1
        let timer = Timer(token: TimerToken(id: lastTimer), deadline: deadline, loop: loop, target: target, tag: tag)
        let place = timers.firstIndex { deadline < $0.deadline } ?? timers.count
        timers.insert(timer, at: place)
        return timer.token
    }

    func cancel(_ token: TimerToken) {
        timers.removeAll { $0.token == token }
    }

    /// Lets time pass; what is due can happen from now on.
    public func advance(by duration: Duration) {
        clock.advance(by: duration)
    }

    /// When the next timer is due, if it is not already.
    public var nextDeadline: Instant? { timers.first?.deadline }

    // MARK: Turns

    /// One turn of a loop, with all that was put off to its end.
    func turn(_ loop: Int, _ body: () -> Void) {
        let before = current
        current = loop
        body()
        loops[loop].receiver?.turnEnded()
        while !loops[loop].deferred.isEmpty {
            let work = loops[loop].deferred
            loops[loop].deferred = []
            for work in work { work() }
        }
        current = before
    }

    func add(_ transport: MemoryTransport) {
        transports.append(transport)
    }

    func remove(_ transport: MemoryTransport) {
        transports.removeAll { $0 === transport }
    }

    // MARK: Steps

    /// Does one of the things that can happen now. False: there is none, and only time can bring one.
    public func step(_ generator: inout SeededGenerator) -> Bool {
        collect()
        guard !choices.isEmpty else { return false }
        let choice = choices[generator.below(choices.count)]
        choices.removeAll(keepingCapacity: true)
        switch choice {
        case .mail(let mailbox): deliver(mailbox, &generator)
        case .job(let index):
            let job = incoming.withLock { $0.jobs.remove(at: index) }
            trace?("storage: job \(index)")
            job()
        case .timer(let index):
            let timer = timers.remove(at: index)
            trace?("loop \(timer.loop): timer \(timer.tag) of \(type(of: timer.target))")
            turn(timer.loop) { timer.target.timerFired(timer.tag) }
        case .transport(let transport, let event):
            trace?("\(transport.name): \(event)")
            transport.perform(event)
        }
        return true
    }

    private func collect() {
        incoming.withLock { incoming in
            for mailbox in incoming.mailboxes.indices where !incoming.mailboxes[mailbox].isEmpty {
                if stallMail, isBetweenLoops(mailbox) { continue }
                choices.append(.mail(mailbox))
            }
            for job in incoming.jobs.indices { choices.append(.job(job)) }
        }
        for (index, timer) in timers.enumerated() {
            guard timer.deadline <= clock.now else { break }
            choices.append(.timer(index))
        }
        for transport in transports {
            transport.forEachEvent { choices.append(.transport(transport, $0)) }
        }
    }

    /// A turn takes some of what one sender has sent, as a drain in the middle of a burst does.
    private func deliver(_ mailbox: Int, _ generator: inout SeededGenerator) {
        let mail = incoming.withLock { incoming in
            let waiting = incoming.mailboxes[mailbox].count
            let count = generator.oneIn(2) ? waiting : 1 + generator.below(waiting)
            let taken = Array(incoming.mailboxes[mailbox].prefix(count))
            incoming.mailboxes[mailbox].removeFirst(count)
            let (sender, target) = (mailbox / self.count, mailbox % self.count)
            if sender == target { incoming.gotFromSelf[target] += count }
            return taken
        }
        let (sender, target) = (mailbox / count, mailbox % count)
        trace?("loop \(target): \(mail.count) of the mail from \(sender == count ? "outside" : "loop \(sender)")")
        turn(target) {
            for mail in mail { loops[target].receiver?.receive(mail) }
        }
    }

    /// Steps until nothing more can happen without time passing. False: it never came to rest.
    @discardableResult
    public func settle(_ generator: inout SeededGenerator, atMost limit: Int = 1_000_000) -> Bool {
        for _ in 0..<limit where !step(&generator) { return true }
        return false
    }

    /// Ends the simulation as a power cut does: nothing that waits is ever run, and loops forget who read their mail.
    public func tearDown() {
        timers = []
        transports = []
        // What is let go may post again; it falls on deaf ears.
        let (mail, jobs) = incoming.withLock { incoming in
            incoming.isOver = true
            let waiting = (incoming.mailboxes, incoming.jobs)
            incoming.mailboxes = Array(repeating: [], count: incoming.mailboxes.count)
            incoming.jobs = []
            return waiting
        }
        withExtendedLifetime((mail, jobs)) {
            for loop in loops {
                loop.deferred = []
                loop.receiver = nil
            }
        }
    }
}

/// Work of no loop, done in steps of the simulation as well.
struct SimulatedWork: WorkExecutor {
    let loops: SimulatedLoops

    func run(_ work: @escaping @Sendable () -> Void) -> Bool {
        loops.run(work)
        return true
    }
}
