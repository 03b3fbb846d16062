import ModuleKit
import Synchronization

/// Counts connections per address, so that nobody can fill the server by connecting (DESIGN: fixed cost before
/// authentication): those that have no session yet, and those of clients that have proved who they are. Touched when a
/// connection comes, when its client has logged in, and when it goes; shared by the loops behind a lock, away from any
/// stanza's way.
final class Admission: Sendable {
    /// Connections of one kind.
    struct Tally {
        private(set) var total = 0
        private(set) var refused = 0
        private var byNetwork: [String: Int] = [:]

        mutating func enter(_ network: String, most: Int, perNetwork: Int) -> Bool {
            let count = byNetwork[network, default: 0]
            guard total < most, count < perNetwork else {
                refused += 1
                return false
            }
            total += 1
            byNetwork[network] = count + 1
            return true
        }

        mutating func leave(_ network: String) {
            total -= 1
            let count = byNetwork[network, default: 1]
            byNetwork[network] = count > 1 ? count - 1 : nil
        }
    }

    private struct State {
        var open = Tally()
        var seated = Tally()
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
        let network = peer.network
        return state.withLock { state in
            let limits = state.limits.unauthenticated
            return state.open.enter(network, most: limits.connections, perNetwork: limits.connectionsPerAddress)
        }
    }

    func leave(_ peer: PeerInfo) {
        let network = peer.network
        state.withLock { $0.open.leave(network) }
    }

    /// A client has logged in. False: its address has as many connections as it may. True: `unseat` has to follow, once.
    func seat(_ peer: PeerInfo) -> Bool {
        let network = peer.network
        return state.withLock { state in
            let limits = state.limits.authenticated
            return state.seated.enter(network, most: .max, perNetwork: limits.connectionsPerAddress)
        }
    }

    func unseat(_ peer: PeerInfo) {
        let network = peer.network
        state.withLock { $0.seated.leave(network) }
    }

    var counts: (open: Tally, seated: Tally) { state.withLock { ($0.open, $0.seated) } }

    /// An IPv4 address, or the /64 of an IPv6 one: that is what one customer gets.
    static func network(of address: String) -> String { PeerInfo(address: address, port: 0).network }
}
