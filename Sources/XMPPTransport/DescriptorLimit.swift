internal import Glibc
internal import Synchronization

/// How many descriptors the process may have open.
public enum DescriptorLimit {
    /// Kept free for the database, for moving connections between loops, and for what the libraries open.
    private static let reserve = 64
    private static let current = Atomic(read())

    private static func read() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
        return Int(clamping: limit.rlim_cur)
    }

    /// Raises the soft limit to the hard one, and says what it is now. At start, before anything listens.
    @discardableResult
    public static func raise() -> Int {
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        if getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max
            _ = setrlimit(resource, &limit)
        }
        return update()
    }

    /// What it was when it was last looked at.
    public static var now: Int { current.load(ordering: .relaxed) }

    /// Looks the limit up again.
    @discardableResult
    static func update() -> Int {
        let now = read()
        current.store(now, ordering: .relaxed)
        return now
    }

    /// A connection with this descriptor, or a higher one, would take from the reserve.
    static var forConnections: CInt {
        CInt(clamping: current.load(ordering: .relaxed) - reserve)
    }
}
