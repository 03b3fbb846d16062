internal import Glibc

/// A lock to wait in. What it guards is said where it is used.
///
/// Not `Mutex` of Synchronization: that one has nothing to wait with.
final class Monitor: @unchecked Sendable {
    // Confined: both pointers are set once; pthread does the rest.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func lock() {
        pthread_mutex_lock(mutex)
    }

    func unlock() {
        pthread_mutex_unlock(mutex)
    }

    /// Gives up the lock until somebody signals; it may return without that.
    func wait() {
        pthread_cond_wait(condition, mutex)
    }

    /// Like `wait()`, but no longer than this.
    func wait(atMost duration: Duration) {
        var deadline = timespec()
        clock_gettime(CLOCK_MONOTONIC, &deadline)
        let nanoseconds = Int64(deadline.tv_nsec) + duration.attoseconds / 1_000_000_000
        deadline.tv_sec += Int(duration.seconds + nanoseconds / 1_000_000_000)
        deadline.tv_nsec = Int(nanoseconds % 1_000_000_000)
        pthread_cond_timedwait(condition, mutex, &deadline)
    }

    func signal() {
        pthread_cond_signal(condition)
    }

    func broadcast() {
        pthread_cond_broadcast(condition)
    }

    func locked<Value>(_ body: () -> Value) -> Value {
        lock()
        defer { unlock() }
        return body()
    }
}

extension Duration {
    /// Whole seconds, within a year: what a wait may be given.
    fileprivate var seconds: Int64 { min(max(components.seconds, 0), 31_536_000) }
    /// The part below a second.
    fileprivate var attoseconds: Int64 { max(components.attoseconds, 0) }
}

extension Duration {
    /// In nanoseconds; 0 if it is negative, a year at most.
    var nanoseconds: UInt64 { UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000) }
}

/// Monotonic time in nanoseconds.
func monotonicNow() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}

/// Starts a thread that ends when the body returns. False: the system has none to give.
func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    final class Start {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let start = Unmanaged.passRetained(Start(body))
    let attributes = UnsafeMutablePointer<pthread_attr_t>.allocate(capacity: 1)
    pthread_attr_init(attributes)
    defer {
        pthread_attr_destroy(attributes)
        attributes.deallocate()
    }
    pthread_attr_setdetachstate(attributes, Int32(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(attributes, 1 << 20)
    var thread: pthread_t = 0
    let code = pthread_create(
        &thread, attributes,
        { context in
            guard let context else { return nil }
            Unmanaged<Start>.fromOpaque(context).takeRetainedValue().body()
            return nil
        }, start.toOpaque())
    if code != 0 { start.release() }
    return code == 0
}
