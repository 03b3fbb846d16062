import CLoadShims
import Glibc

/// What a mode does with what its connections receive; called on the worker's thread.
protocol Workload: AnyObject {
    func received(_ message: MessageHead, on connection: Connection, by worker: Worker, at now: UInt64)
    func answered(_ iq: Slice, on connection: Connection, by worker: Worker)
    func confirmed(on connection: Connection, by worker: Worker)
    func met(_ presence: Slice, on connection: Connection, by worker: Worker)
}

extension Workload {
    func answered(_ iq: Slice, on connection: Connection, by worker: Worker) {}
    func confirmed(on connection: Connection, by worker: Worker) {}
    func met(_ presence: Slice, on connection: Connection, by worker: Worker) {}
}

/// One thread's connections and its epoll.
///
/// Everything in it is touched by one thread at a time: `Crew` runs it on its own thread during a phase and hands it
/// back between phases.
final class Worker: @unchecked Sendable {
    private static let readSize = 65536
    private static let bufferSize = 1 << 20
    private static let eventCount = 512
    private static let readable = UInt32(LOAD_READABLE)
    private static let writable = UInt32(LOAD_WRITABLE)
    private static let both = readable | writable

    let settings: Settings
    let tlsContext: TLSClientContext?
    let connections: [Connection]
    var workload: (any Workload)?
    var scramCache = SCRAM.Cache()
    var loginLatencies = Histogram()
    var readyCount = 0
    var closedCount = 0
    private(set) var failureCount = 0
    private(set) var firstFailure: String?

    private let epoll: Int32
    private let events = UnsafeMutablePointer<load_event>.allocate(capacity: eventCount)
    private let buffer = UnsafeMutablePointer<UInt8>.allocate(capacity: bufferSize)

    init(_ settings: Settings, users: [Int], tlsContext: TLSClientContext?) {
        self.settings = settings
        self.tlsContext = tlsContext
        connections = users.enumerated().map { Connection(user: $0.element, place: $0.offset) }
        epoll = load_epoll_create()
    }

    deinit {
        for connection in connections where connection.descriptor >= 0 { Glibc.close(connection.descriptor) }
        Glibc.close(epoll)
        events.deallocate()
        buffer.deallocate()
    }

    /// Waits for the sockets at most so long, and handles all that is ready.
    func turn(atMost nanoseconds: Int64) {
        let count = load_epoll_wait(epoll, events, Int32(Self.eventCount), nanoseconds)
        guard count > 0 else { return }
        for index in 0..<Int(count) {
            let flags = events[index].flags
            let connection = connections[Int(events[index].key)]
            switch connection.state {
            case .unused, .closed:
                break
            case .connecting:
                connected(connection)
            case .handshaking:
                shakeHands(connection)
            case .open, .closing:
                if flags & ~Self.writable != 0 { readable(connection) }
                if flags & Self.writable != 0 { flush(connection) }
            }
        }
    }

    /// Turns until the condition holds or the time is there; true: it holds.
    @discardableResult
    func turn(until deadline: UInt64, or condition: () -> Bool = { false }) -> Bool {
        while true {
            if condition() { return true }
            let now = Clock.now()
            if now >= deadline { return false }
            turn(atMost: Int64(min(deadline - now, 100_000_000)))
        }
    }

    // MARK: - Connecting

    func connect(_ connection: Connection) {
        connection.began = Clock.now()
        do {
            connection.descriptor = try Dial.connect(connection.user, settings)
        } catch {
            return fail(connection, "\(error)")
        }
        connection.state = .connecting
        connection.waitsForOutput = true
        let interest = Self.both
        if load_epoll_add(epoll, connection.descriptor, interest, UInt64(connection.place)) != 0 {
            fail(connection, "epoll: \(String(cString: strerror(errno)))")
        }
    }

    private func connected(_ connection: Connection) {
        if let reason = Dial.error(of: connection.descriptor) { return fail(connection, "connecting: \(reason)") }
        connection.state = .open
        if settings.security == .direct {
            startTLS(connection)
        } else {
            opened(connection)
            flush(connection)
        }
    }

    func startTLS(_ connection: Connection) {
        guard let tlsContext else { return fail(connection, "no TLS context") }
        do {
            connection.tls = try TLSClient(
                tlsContext, descriptor: connection.descriptor, serverName: settings.host)
        } catch {
            return fail(connection, "\(error)")
        }
        connection.state = .handshaking
        shakeHands(connection)
    }

    private func shakeHands(_ connection: Connection) {
        guard let tls = connection.tls else { return fail(connection, "no TLS") }
        switch tls.handshake() {
        case .done:
            connection.state = .open
            opened(connection)
            flush(connection)
        case .wantsRead: listen(connection, forOutput: false)
        case .wantsWrite: listen(connection, forOutput: true)
        case .failed(let reason): fail(connection, reason)
        }
    }

    func fail(_ connection: Connection, _ reason: String) {
        if connection.state == .closing { return close(connection) }
        failureCount += 1
        if firstFailure == nil { firstFailure = "\(settings.user(connection.user)): \(reason)" }
        close(connection)
    }

    func close(_ connection: Connection) {
        guard connection.state != .closed else { return }
        connection.state = .closed
        closedCount += 1
        connection.tls?.shutdown()
        connection.tls = nil
        if connection.descriptor >= 0 {
            Glibc.close(connection.descriptor)
            connection.descriptor = -1
        }
        connection.output = []
        connection.kept = []
    }

    // MARK: - Bytes

    private func readable(_ connection: Connection) {
        repeat {
            let offset = connection.kept.count
            guard offset + Self.readSize <= Self.bufferSize else { return fail(connection, "an element without end") }
            if offset > 0 {
                connection.kept.withUnsafeBufferPointer { buffer.update(from: $0.baseAddress!, count: offset) }
            }
            switch connection.read(into: UnsafeMutableRawBufferPointer(start: buffer + offset, count: Self.readSize)) {
            case .closed: return fail(connection, "the server closed the connection")
            case .nothing: return
            case .bytes(let count): scan(connection, UnsafeBufferPointer(start: buffer, count: offset + count))
            }
            // A TLS record may hold more than the socket still shows.
        } while connection.tls != nil && (connection.state == .open || connection.state == .closing)
    }

    private func scan(_ connection: Connection, _ bytes: UnsafeBufferPointer<UInt8>) {
        let now = Clock.now()
        scanning: while connection.state == .open || connection.state == .closing {
            switch connection.scanner.next(in: bytes) {
            case .opened: break
            case .closed:
                if connection.state == .open { return fail(connection, "the server closed the stream") }
                return close(connection)
            case .element(let range):
                handle(Slice(bytes: UnsafeBufferPointer(rebasing: bytes[range])), on: connection, at: now)
                // The server waits for the new stream's header: nothing can be behind this element.
                if connection.restarts {
                    connection.restarts = false
                    connection.scanner = StanzaScanner()
                    connection.kept = []
                    return flush(connection)
                }
            case .more: break scanning
            }
        }
        guard connection.state != .closed else { return }
        let rest = connection.scanner.consumed
        if rest < bytes.count {
            connection.kept = Array(bytes[rest...])
        } else {
            connection.kept.removeAll(keepingCapacity: true)
        }
        connection.scanner.rebase()
        answer(connection)
        flush(connection)
    }

    /// Writes what is queued; what the socket does not take waits for it.
    func flush(_ connection: Connection) {
        guard connection.state == .open || connection.state == .closing else { return }
        while !connection.output.isEmpty {
            switch connection.output.withUnsafeBytes({ connection.write($0) }) {
            case .bytes(let count) where count == connection.output.count:
                connection.output.removeAll(keepingCapacity: true)
            case .bytes(let count): connection.output.removeFirst(count)
            case .nothing: return listen(connection, forOutput: true)
            case .closed: return fail(connection, "the server closed the connection")
            }
        }
        listen(connection, forOutput: false)
    }

    private func listen(_ connection: Connection, forOutput: Bool) {
        guard connection.waitsForOutput != forOutput else { return }
        connection.waitsForOutput = forOutput
        let interest = forOutput ? Self.both : Self.readable
        _ = load_epoll_change(epoll, connection.descriptor, interest, UInt64(connection.place))
    }
}
