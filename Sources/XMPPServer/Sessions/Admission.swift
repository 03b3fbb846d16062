import ModuleKit
import Synchronization

/// Counts the connections that have no session yet, in all and per address, so that nobody can fill the server by
/// connecting (DESIGN: fixed cost before authentication). Touched when a connection comes and when it has a session or
/// goes; shared by the loops behind a lock, away from any stanza's way.
final class Admission: Sendable {
    private struct State {
        var total = 0
        var byNetwork: [String: Int] = [:]
        var refused = 0
        var limits: LimitsConfig.Unauthenticated
    }

    private let state: Mutex<State>

    init(_ limits: LimitsConfig.Unauthenticated) {
        state = Mutex(State(limits: limits))
    }

    /// For those who come from now on.
    func use(_ limits: LimitsConfig.Unauthenticated) {
        state.withLock { $0.limits = limits }
    }

    /// False: one too many. True: `leave` has to follow, once.
    func enter(_ peer: PeerInfo) -> Bool {
        let network = Self.network(of: peer.address)
        return state.withLock { state in
            let count = state.byNetwork[network, default: 0]
            guard state.total < state.limits.connections, count < state.limits.connectionsPerAddress else {
                state.refused += 1
                return false
            }
            state.total += 1
            state.byNetwork[network] = count + 1
            return true
        }
    }

    func leave(_ peer: PeerInfo) {
        let network = Self.network(of: peer.address)
        state.withLock { state in
            state.total -= 1
            let count = state.byNetwork[network, default: 1]
            state.byNetwork[network] = count > 1 ? count - 1 : nil
        }
    }

    var counts: (open: Int, refused: Int) {
        state.withLock { ($0.total, $0.refused) }
    }

    /// An IPv4 address, or the /64 of an IPv6 one: that is what one customer gets.
    static func network(of address: String) -> String { PeerInfo(address: address, port: 0).network }
}
