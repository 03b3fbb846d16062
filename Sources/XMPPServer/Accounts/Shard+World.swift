import ModuleKit
import XMPPStream

/// Hosts and modules that a reload takes out end what they had begun, so that contacts hear of it.
extension Shard {
    /// Sessions of hosts that are gone end, and their accounts are forgotten.
    ///
    /// - Returns: stanzas and logins for accounts of those hosts that had not been read yet.
    func endHosts(missingIn next: World) -> [(BareJID, [LocalAccount.Waiting])] {
        let gone = Set(world.hosts.keys.filter { next.hosts[$0] == nil })
        guard !gone.isEmpty else { return [] }
        var waiting: [(BareJID, [LocalAccount.Waiting])] = []
        // A session that ends may bring further accounts of such hosts into memory.
        while true {
            let addresses = accounts.keys.filter { gone.contains($0.domain) }
            guard !addresses.isEmpty else { return waiting }
            for address in addresses { waiting.append((address, leave(address, telling: .hostGone))) }
        }
    }

    /// Modules that are in the old world and not in this one are told that their sessions have ended. The stanzas that
    /// they send then are routed by the new tables.
    func endModules(of old: World) {
        var handlers: [String: [(any Session) -> Void]] = [:]
        for (host, table) in old.hosts {
            guard let after = world.hosts[host] else { continue }
            let gone = table.closed.filter { !after.modules.contains($0.module) }
            if !gone.isEmpty { handlers[host] = gone.map(\.handler) }
        }
        guard !handlers.isEmpty else { return }
        for session in Array(sessions.values) {
            guard let ending = handlers[session.address.domain] else { continue }
            for handler in ending { handler(session) }
            session.availabilityMayHaveChanged()
        }
    }

    /// Sessions of this loop by their host.
    var sessionCounts: [String: Int] {
        sessions.values.reduce(into: [:]) { $0[$1.address.domain, default: 0] += 1 }
    }
}
