import Glibc

/// The workers of a run, one thread each; a phase is over when all have ended it.
struct Crew {
    let workers: [Worker]

    /// The users from `first` on, pairs together on one worker.
    init(_ settings: Settings, first: Int, count: Int, threads: Int) throws {
        let context = settings.security == .none ? nil : try TLSClientContext(alpn: settings.security == .direct)
        let threads = max(1, min(threads, (count + 1) / 2))
        workers = (0..<threads).map { thread in
            let users = (first..<(first + count)).filter { $0 / 2 % threads == thread }
            return Worker(settings, users: users, tlsContext: context)
        }
    }

    /// Runs the phase on every worker.
    ///
    /// - Throws: `LoadFailure` when a connection failed in it.
    func each(_ phase: @escaping @Sendable (Worker) -> Void) throws {
        if workers.count == 1 {
            phase(workers[0])
        } else {
            let threads = workers.map { worker in Self.start { phase(worker) } }
            for thread in threads { pthread_join(thread, nil) }
        }
        if let failure = workers.lazy.compactMap(\.firstFailure).first {
            throw LoadFailure("\(workers.reduce(0) { $0 + $1.failureCount }) connections failed: \(failure)")
        }
    }

    /// All connections to where their login ends.
    func login() throws {
        try each { _ = $0.login() }
        let missing = connections.count - workers.reduce(0) { $0 + $1.readyCount }
        if missing > 0 { throw LoadFailure("\(missing) logins were not done in time") }
    }

    func leave() {
        try? each { $0.leave() }
    }

    var connections: [Connection] { workers.flatMap(\.connections) }

    var loginLatencies: Histogram {
        workers.reduce(into: Histogram()) { $0.merge($1.loginLatencies) }
    }

    private final class Start {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private static func start(_ body: @escaping @Sendable () -> Void) -> pthread_t {
        var thread = pthread_t()
        let context = Unmanaged.passRetained(Start(body)).toOpaque()
        let entry: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = { context in
            Unmanaged<Start>.fromOpaque(context!).takeRetainedValue().body()
            return nil
        }
        let result = pthread_create(&thread, nil, entry, context)
        precondition(result == 0, "no thread")
        return thread
    }
}
