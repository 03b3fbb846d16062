import Glibc
import ModuleKit
import Synchronization
import XMPPServer
import XMPPStream
import XMPPTransport

/// One event loop's clients.
final class LoopDriver: @unchecked Sendable {
    // Confined to `loop`, but for `shared`, `clock` and the atomics, and for `users`, which another loop reads while
    // nobody logs in.
    let loop: any Loop
    let shared: MemoryRun
    let trees = TreeSource(host: ClientNames.host)
    private let framing = TCPStreamFraming(pool: ParserPool())
    private let output = OutputBuffer(capacity: 4096)
    private var touched: [CountingTransport] = []
    var random: RandomBits
    var scramCache = SCRAM.Cache()
    /// Nanoseconds that were the clients' own work.
    var clientCPU: UInt64 = 0
    /// The clock of the loop's thread.
    let clock = Atomic<Int32>(0)

    /// Clients whose home this loop is, in places made for all before anything is measured.
    private(set) var clients: ContiguousArray<CountingTransport?>
    /// Their numbers.
    private(set) var users: ContiguousArray<UInt32>
    private(set) var count = 0

    private(set) var delivered = 0
    private(set) var renderedBytes = 0
    /// When so many were delivered, whoever sends them may send more.
    var nextCredit = Int.max
    var routing = RoutingTask()
    let hasSentAll = Atomic<Bool>(false)
    let hasReceivedAll = Atomic<Bool>(false)

    init(_ loop: any Loop, _ shared: MemoryRun, capacity: Int) {
        self.loop = loop
        self.shared = shared
        random = RandomBits(state: UInt64(loop.index) &* 0x1234_5678_9abc_def1)
        clients = ContiguousArray(repeating: nil, count: capacity)
        users = ContiguousArray(repeating: 0, count: capacity)
    }

    /// What the places of one client take.
    static let placeBytes = MemoryLayout<CountingTransport?>.stride + MemoryLayout<UInt32>.stride

    func driver(of loop: any Loop) -> LoopDriver { shared.drivers[loop.index] }

    /// Lets other threads read this loop's CPU time; called on the loop.
    func publishClock() {
        var id = clockid_t()
        if pthread_getcpuclockid(pthread_self(), &id) == 0 { clock.store(id, ordering: .releasing) }
    }

    /// CPU nanoseconds of the loop's thread, from any thread.
    func cpu() -> UInt64 { Clock.read(clock.load(ordering: .relaxed)) }

    func complain(_ text: String) { shared.complain(text) }

    // MARK: Output

    @inline(__always)
    func render(_ write: (TCPStreamFraming, OutputBuffer) -> Void) {
        output.removeAll()
        write(framing, output)
        renderedBytes &+= output.count
    }

    /// A stanza for one of the clients.
    @inline(__always)
    func deliver(_ stanza: Stanza) {
        render { $0.write(stanza, into: $1) }
        delivered &+= 1
        if delivered == nextCredit { giveCredit() }
    }

    // MARK: Logins

    /// Begins logins until so many are under way here.
    func beginLogins(_ concurrency: Int) {
        for _ in 0..<concurrency { beginNext() }
    }

    private func beginNext() {
        guard let user = shared.takeUser() else { return }
        let transport = CountingTransport(self, user: user)
        transport.handler = shared.server.accept(transport, tls: .none)
        transport.touch()
    }

    func touch(_ transport: CountingTransport) {
        if touched.isEmpty { loop.defer_ { [self] in endTurn() } }
        touched.append(transport)
    }

    private func endTurn() {
        let transports = touched
        touched.removeAll(keepingCapacity: true)
        for transport in transports { transport.turnEnded() }
    }

    /// A login is complete, on its home loop.
    func loggedIn(_ transport: CountingTransport) {
        guard count < clients.count else { return complain("more clients than places") }
        clients[count] = transport
        users[count] = transport.user
        count += 1
        shared.countLogin()
        // Not within the handling of this one's presence.
        loop.defer_ { [self] in beginNext() }
    }
}

/// Random numbers that cost next to nothing, the same in every run.
struct RandomBits {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var bits = state
        bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
        return bits ^ (bits >> 31)
    }

    /// One of 0..<bound.
    mutating func next(below bound: Int) -> Int {
        Int((next() >> 32).multipliedFullWidth(by: UInt64(bound) << 32).high)
    }
}
