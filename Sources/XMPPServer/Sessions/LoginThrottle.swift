import ModuleKit
import Synchronization
import XMPPStream

/// Makes guessing passwords slow: counts failures per account and address, and per address, and says how long the next
/// attempt has to wait. A stranger's failures are counted at the stranger's address, so they never keep the owner of an
/// account waiting at another one.
///
/// Bounded: of each kind the last so many are remembered. Shared by the loops behind a lock that is taken three times
/// per login, never for a stanza.
final class LoginThrottle: Sendable {
    enum Verdict: Hashable, Sendable {
        case proceed
        case wait(Duration)
        /// Not tried at all.
        case refuse
    }

    /// An attempt that was let through; ends with one of `failed`, `succeeded`, `abandoned`.
    struct Attempt: Sendable {
        fileprivate let key: Key
    }

    /// As long for every account, or names of two kilobytes would fill the table.
    fileprivate struct Key: Hashable, Sendable {
        let network: String
        private let account: UInt64
        private let more: UInt64

        init(_ account: BareJID, _ network: String) {
            self.network = network
            let digest = Crypto.hash(.sha256, Array(account.description.utf8))
            func word(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
            (self.account, more) = (word(digest[..<8]), word(digest[8..<16]))
        }
    }

    private struct State {
        var limits: LimitsConfig.FailedLogins
        var accounts: RecentCounts<Key>
        var networks: RecentCounts<String>

        init(_ limits: LimitsConfig.FailedLogins) {
            self.limits = limits
            accounts = RecentCounts(most: limits.entries, halfLife: limits.forget)
            networks = RecentCounts(most: limits.entries, halfLife: limits.forget)
        }

        /// `excess` 0 is the first one that waits.
        func delay(_ excess: Int) -> Duration {
            guard excess >= 0 else { return .zero }
            return min(limits.delay, .milliseconds(500 << min(excess, 20)))
        }
    }

    private let state: Mutex<State>

    init(_ limits: LimitsConfig.FailedLogins) {
        state = Mutex(State(limits))
    }

    /// From now on. What was counted stays, unless it is to be counted in another way.
    func use(_ limits: LimitsConfig.FailedLogins) {
        state.withLock { state in
            if (limits.entries, limits.forget) == (state.limits.entries, state.limits.forget) {
                state.limits = limits
            } else {
                state = State(limits)
            }
        }
    }

    /// Somebody at this address tries to be this account. Attempts on one account that are under way count as failures
    /// until they are known to be none: who tries a hundred at once waits as long as who tries them in turn.
    func begin(_ account: BareJID, at address: String, now: Instant) -> (Verdict, Attempt?) {
        let network = Admission.network(of: address)
        let key = Key(account, network)
        return state.withLock { state in
            let (own, all) = (state.accounts.count(key, now), state.networks.count(network, now))
            let limits = state.limits
            guard own < limits.refuse, all < limits.refusePerAddress else { return (.refuse, nil) }
            state.accounts.add(1, to: key, now)
            let delay = max(state.delay(own - limits.free), state.delay(all - limits.freePerAddress))
            return (delay == .zero ? .proceed : .wait(delay), Attempt(key: key))
        }
    }

    /// The password was wrong, or there is no such account.
    func failed(_ attempt: Attempt, now: Instant) {
        state.withLock { $0.networks.add(1, to: attempt.key.network, now) }
    }

    /// Nothing was tried in the end.
    func abandoned(_ attempt: Attempt, now: Instant) {
        state.withLock { $0.accounts.add(-1, to: attempt.key, now) }
    }

    /// The owner was there: what failed at that address before was a slip. The address as a whole is not forgiven, or
    /// who has one account could guess the passwords of others for ever.
    func succeeded(_ attempt: Attempt) {
        state.withLock { $0.accounts.remove(attempt.key) }
    }

    /// How many are remembered.
    var entries: (accounts: Int, networks: Int) {
        state.withLock { ($0.accounts.entries, $0.networks.entries) }
    }
}

/// Counts that halve with time, for the keys that were used last. Two tables: when the newer one is full the older one
/// is thrown away, so that nothing is ever searched.
struct RecentCounts<Key: Hashable & Sendable>: Sendable {
    private struct Entry {
        var count: Int
        /// From when on it halves.
        var since: Instant
    }

    private var newer: [Key: Entry] = [:]
    private var older: [Key: Entry] = [:]
    private let most: Int
    private let halfLife: Int64

    init(most: Int, halfLife: Duration) {
        self.most = max(1, most / 2)
        let parts = halfLife.components
        self.halfLife = max(1, parts.seconds &* 1_000_000_000 &+ parts.attoseconds / 1_000_000_000)
    }

    var entries: Int { newer.count + older.count }

    func count(_ key: Key, _ now: Instant) -> Int {
        (newer[key] ?? older[key]).map { decayed($0, now).count } ?? 0
    }

    mutating func add(_ difference: Int, to key: Key, _ now: Instant) {
        let known = newer[key] ?? older.removeValue(forKey: key)
        var entry = known.map { decayed($0, now) } ?? Entry(count: 0, since: now)
        entry.count += difference
        guard entry.count > 0 else {
            newer[key] = nil
            return
        }
        if newer[key] == nil, newer.count >= most {
            older = newer
            newer = [:]
        }
        newer[key] = entry
    }

    mutating func remove(_ key: Key) {
        newer[key] = nil
        older[key] = nil
    }

    private func decayed(_ entry: Entry, _ now: Instant) -> Entry {
        let halvings = max(0, now.nanoseconds - entry.since.nanoseconds) / halfLife
        guard halvings > 0 else { return entry }
        return Entry(
            count: entry.count >> min(Int(halvings), 62),
            since: Instant(nanoseconds: entry.since.nanoseconds &+ halvings &* halfLife))
    }
}
