import ModuleKit
import Synchronization

/// Counts connections per address, so that nobody can fill the server by connecting (DESIGN: fixed cost before
/// authentication): those that have no session yet, and those of clients that have proved who they are. Touched when a
/// connection comes, when its client has logged in, and when it goes; shared by the loops behind a lock, away from any
/// stanza's way.
final class Admission: Sendable {
    private struct State {
        var total = 0
        var byNetwork: [String: Int] = [:]
        var refused = 0
        var seated = 0
        var seatedByNetwork: [String: Int] = [:]
        var seatsRefused = 0
        var limits: LimitsConfig
    }

    private let state: Mutex<State>

    init(_ limits: LimitsConfig) {
        state = Mutex(State(limits: limits))
    }

    /// For those who come from now on.
    func use(_ limits: LimitsConfig) {
        state.withLock { $0.limits = limits }
    }

    /// False: one too many. True: `leave` has to follow, once.
    func enter(_ peer: PeerInfo) -> Bool {
        let network = Self.network(of: peer.address)
        return state.withLock { state in
            let (count, limits) = (state.byNetwork[network, default: 0], state.limits.unauthenticated)
            guard state.total < limits.connections, count < limits.connectionsPerAddress else {
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

    /// A client has logged in. False: its address has as many connections as it may. True: `unseat` has to follow, once.
    func seat(_ peer: PeerInfo) -> Bool {
        let network = Self.network(of: peer.address)
        return state.withLock { state in
            let count = state.seatedByNetwork[network, default: 0]
            guard count < state.limits.authenticated.connectionsPerAddress else {
                state.seatsRefused += 1
                return false
            }
            state.seated += 1
            state.seatedByNetwork[network] = count + 1
            return true
        }
    }

    func unseat(_ peer: PeerInfo) {
        let network = Self.network(of: peer.address)
        state.withLock { state in
            state.seated -= 1
            let count = state.seatedByNetwork[network, default: 1]
            state.seatedByNetwork[network] = count > 1 ? count - 1 : nil
        }
    }

    var counts: (open: Int, refused: Int, seated: Int, seatsRefused: Int) {
        state.withLock { ($0.total, $0.refused, $0.seated, $0.seatsRefused) }
    }

    /// An IPv4 address, or the /64 of an IPv6 one: that is what one customer gets.
    static func network(of address: String) -> String { PeerInfo(address: address, port: 0).network }
}
