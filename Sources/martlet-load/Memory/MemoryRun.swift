import CLoadShims
import Logging
import ModuleKit
import StorageMemory
import Synchronization
import XMPPServer
import XMPPTransport

/// A whole server in this process with clients that have no sockets, and the phases that are measured.
final class MemoryRun: @unchecked Sendable {
    // What loops share is in atomics and locks; the rest is set before a loop hears of it.
    private let storage: MemoryStorage
    private let group: TransportGroup
    let server: Server
    private(set) var drivers: [LoopDriver] = []
    private let nextUser = Atomic<Int>(0)
    private let limit = Atomic<Int>(0)
    private let loggedIn = Atomic<Int>(0)
    private let complaints = Mutex<(count: Int, first: String)>((0, ""))

    init(loops: Int, capacity: Int) throws {
        let (storage, group) = (MemoryStorage(), TransportGroup(loops: loops))
        let config = try EveryModule.config(host: ClientNames.host)
        self.storage = storage
        self.group = group
        server = try Blocking.run {
            try await Server.start(
                config: config, storage: storage, secret: Array("no secret, nobody is unknown".utf8),
                modules: EveryModule.types, loops: group.loops,
                log: Logger(label: "martlet-load") { _ in SwiftLogNoOpLogHandler() })
        }
        drivers = group.loops.map { LoopDriver($0, self, capacity: capacity) }
        onEachLoop { $0.publishClock() }
    }

    /// Runs `work` on every loop, and returns when all have.
    func onEachLoop(_ work: @escaping @Sendable (LoopDriver) -> Void) {
        let done = Countdown(drivers.count)
        for driver in drivers {
            driver.loop.post(
                .work {
                    work(driver)
                    done.countDown()
                })
        }
        wait { done.isOver }
    }

    private func wait(_ isOver: () -> Bool) {
        while !isOver() { Clock.sleep(seconds: 0.005) }
    }

    // MARK: Complaints

    func complain(_ text: String) {
        complaints.withLock { complaints in
            if complaints.count == 0 { complaints.first = text }
            complaints.count += 1
        }
    }

    /// - Throws: `LoadFailure` when something has gone wrong: nothing that was measured is worth anything then.
    private func check() throws {
        let (count, first) = complaints.withLock { $0 }
        guard count == 0 else { throw LoadFailure("\(count) failures; the first: \(first)") }
    }

    // MARK: Accounts

    /// Accounts that share one credential, so that the store holds little else than their names.
    func makeAccounts(_ count: Int) throws {
        let credentials = [Array(SCRAM.credential(ClientNames.password, rounds: 4096).utf8)]
        let storage = storage
        for first in stride(from: 0, to: count, by: 10_000) {
            let batch = (first..<min(first + 10_000, count)).map { number in
                Mutation.createAccount(
                    host: ClientNames.host, local: ClientNames.user(number), created: Timestamp(milliseconds: 0),
                    credentials: credentials)
            }
            _ = try Blocking.run { try await storage.submit(batch) }
        }
    }

    // MARK: Logins

    /// The next user to log in; nil: there are enough.
    func takeUser() -> Int? {
        let user = nextUser.add(1, ordering: .relaxed).oldValue
        return user < limit.load(ordering: .relaxed) ? user : nil
    }

    func countLogin() { loggedIn.add(1, ordering: .releasing) }

    struct Logins {
        /// CPU nanoseconds of all threads, without the clients' own work.
        var server: UInt64
        var clients: UInt64
        var duration: UInt64
    }

    /// Logs in until there are so many sessions.
    func logIn(upTo count: Int, concurrency: Int) throws -> Logins {
        let began = (cpu: Clock.ownCPU(), time: Clock.now(), clients: clientCPU)
        nextUser.store(loggedIn.load(ordering: .acquiring), ordering: .relaxed)
        limit.store(count, ordering: .releasing)
        let each = max(1, concurrency / drivers.count)
        onEachLoop { $0.beginLogins(each) }
        var (last, since) = (0, Clock.now())
        while true {
            let done = loggedIn.load(ordering: .acquiring)
            if done >= count { break }
            try check()
            if done != last { (last, since) = (done, Clock.now()) }
            guard Clock.now() - since < 20_000_000_000 else { throw LoadFailure("stuck after \(done) logins") }
            Clock.sleep(seconds: 0.005)
        }
        let duration = Clock.now() - began.time
        settle()
        let clients = clientCPU - began.clients
        return Logins(server: Clock.ownCPU() - began.cpu - clients, clients: clients, duration: duration)
    }

    private var clientCPU: UInt64 { drivers.reduce(0) { $0 + $1.clientCPU } }

    /// Until the loops have nothing more to do.
    func settle() {
        for _ in 0..<3 { onEachLoop { _ in } }
        Clock.sleep(seconds: 0.3)
    }

    /// What malloc gives for one client's end of a connection.
    var transportBytes: Int {
        guard let transport = drivers.lazy.compactMap({ $0.clients.first ?? nil }).first else { return 0 }
        return load_allocation_bytes(Unmanaged.passUnretained(transport).toOpaque())
    }

    // MARK: Routing

    struct Routing {
        var messages: Int
        /// CPU nanoseconds of the loops, without those that made the messages.
        var server: UInt64
        var preparation: UInt64
        var bytes: Int
    }

    /// Sends messages between random clients of the same loop, or from each loop to the next.
    func route(messages: Int, size: Int, crossing: Bool) throws -> Routing {
        let count = drivers.count
        let each = max(1, messages / count / LoopDriver.burst) * LoopDriver.burst
        onEachLoop { [self] driver in
            let index = driver.loop.index
            let recipients = crossing ? drivers[(index + 1) % count] : driver
            let source = crossing ? drivers[(index + count - 1) % count] : driver
            driver.prepareRouting(to: recipients, from: source, messages: each, size: size)
        }
        let began = drivers.map { (cpu: $0.cpu(), delivered: $0.delivered, bytes: $0.renderedBytes) }
        for driver in drivers { driver.loop.post(.work { driver.sendBurst() }) }
        while !drivers.allSatisfy({ $0.hasSentAll.load(ordering: .acquiring) })
            || !drivers.allSatisfy({ $0.hasReceivedAll.load(ordering: .acquiring) })
        {
            try check()
            Clock.sleep(seconds: 0.005)
        }
        let cpu = zip(drivers, began).reduce(UInt64(0)) { $0 + $1.0.cpu() - $1.1.cpu }
        settle()
        try check()
        let delivered = zip(drivers, began).reduce(0) { $0 + $1.0.delivered - $1.1.delivered }
        guard delivered == each * count else {
            throw LoadFailure("\(each * count) messages were sent and \(delivered) delivered")
        }
        let preparation = drivers.reduce(UInt64(0)) { $0 + $1.routing.preparation }
        return Routing(
            messages: delivered, server: cpu - preparation, preparation: preparation,
            bytes: zip(drivers, began).reduce(0) { $0 + $1.0.renderedBytes - $1.1.bytes })
    }
}

/// Lets one thread wait for several.
private final class Countdown: Sendable {
    private let left: Atomic<Int>

    init(_ count: Int) {
        left = Atomic(count)
    }

    func countDown() { left.subtract(1, ordering: .acquiringAndReleasing) }
    var isOver: Bool { left.load(ordering: .acquiring) <= 0 }
}
