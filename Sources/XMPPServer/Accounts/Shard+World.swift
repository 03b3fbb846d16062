import ModuleKit
import XMPPStream

/// What ends when a reload takes hosts and modules out: by what the old world had for it, so that contacts hear of it.
extension Shard {
    /// Sessions of hosts that are gone end, and their accounts are forgotten.
    ///
    /// - Returns: what waited for accounts of those hosts to be read.
    func endHosts(missingIn next: World) -> [(BareJID, [LocalAccount.Waiting])] {
        let gone = Set(world.hosts.keys.filter { next.hosts[$0] == nil })
        guard !gone.isEmpty else { return [] }
        var waiting: [(BareJID, [LocalAccount.Waiting])] = []
        // What ends may bring further accounts of such hosts into memory.
        while true {
            let addresses = accounts.keys.filter { gone.contains($0.domain) }
            guard !addresses.isEmpty else { return waiting }
            for address in addresses { waiting.append((address, leave(address, telling: .hostGone))) }
        }
    }

    /// To modules that the old world had and this one has not, all sessions have ended. What they say at that finds its
    /// way by the new tables.
    func endModules(of old: World) {
        for (host, table) in old.hosts {
            guard let after = world.hosts[host] else { continue }
            let gone = table.closed.filter { !after.modules.contains($0.module) }
            guard !gone.isEmpty else { continue }
            for session in Array(sessions.values) where session.address.domain == host {
                for (_, handler) in gone { handler(session) }
            }
        }
    }

    /// How many sessions each of these hosts has here.
    func sessionCounts(of hosts: [String]) -> [Int] {
        hosts.map { host in sessions.values.count { $0.address.domain == host } }
    }
}
