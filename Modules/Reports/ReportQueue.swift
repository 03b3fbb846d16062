internal import ModuleKit
internal import Synchronization

/// The reports that wait for an operator, of all hosts: rows of the server's own, by number, and in memory who sent
/// each.
final class ReportQueue: Sendable {
    static let store: StoreName = "reports"
    /// The last number given; numbers of reports that were closed are not used again.
    private static let lastKey = "last"

    struct Limits: Hashable, Sendable {
        /// Reports that wait.
        var all: Int
        /// Of one account.
        var each: Int
        /// Bytes of the text of one.
        var text: Int
    }

    private enum Phase {
        case unknown
        case loading
        case loaded
    }

    private struct State {
        var phase = Phase.unknown
        var reporters: [Int: BareJID] = [:]
        var last = 0
    }

    private let state = Mutex(State())

    /// Reads what waits, unless that was done or is under way. Until then there is room for nothing.
    func load(from storage: any StorageBackend) {
        let isDue = state.withLock { state in
            guard case .unknown = state.phase else { return false }
            state.phase = .loading
            return true
        }
        guard isDue else { return }
        storage.read([.server]) { snapshot throws(StorageError) in
            try snapshot.entries(Self.store, .server).map { (key: $0.key, value: $0.value) }
        } then: { [self] result in
            state.withLock { state in
                guard case .success(let rows) = result else {
                    state.phase = .unknown
                    return
                }
                state.phase = .loaded
                for (key, value) in rows {
                    if key == Self.lastKey {
                        state.last = max(state.last, Int(String(decoding: value, as: UTF8.self)) ?? 0)
                    } else if let number = Int(key) {
                        state.last = max(state.last, number)
                        state.reporters[number] = Report(stored: value)?.reporter
                    }
                }
            }
        }
    }

    /// A number for one more report of this account; nil: there is no room for it.
    func number(for reporter: BareJID, _ limits: Limits) -> Int? {
        state.withLock { state in
            guard case .loaded = state.phase, state.reporters.count < limits.all,
                state.reporters.values.count(where: { $0 == reporter }) < limits.each
            else { return nil }
            state.last += 1
            return state.last
        }
    }

    func rows(_ number: Int, _ report: Report) -> [Mutation] {
        [
            .put(Self.store, .server, key: String(number), value: report.stored),
            .put(Self.store, .server, key: Self.lastKey, value: Array(String(number).utf8)),
        ]
    }

    func add(_ number: Int, by reporter: BareJID) {
        state.withLock { $0.reporters[number] = reporter }
    }

    func remove(_ number: Int) {
        state.withLock { $0.reporters[number] = nil }
    }
}
