import CResolv
import Foundation
import XMPPServer

/// Looks at the DNS records by which clients find the hosts of a config (RFC 6120 §3.2, XEP-0368). They are nobody's
/// error but the zone's, so all that it says are notes.
struct DNSCheck {
    /// Whom to ask instead of the system's resolvers: an IPv4 address as a number, and a port. For tests.
    var server: (address: UInt32, port: UInt16)?
    /// Seconds to wait for an answer.
    var patience: Int32 = 2

    /// As `MARTLET_TEST_DNS` says (`127.0.0.1:5353`), else the system's.
    init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        let parts = environment["MARTLET_TEST_DNS"]?.split(separator: ":") ?? []
        var address = in_addr()
        guard parts.count == 2, let port = UInt16(parts[1]), inet_pton(AF_INET, String(parts[0]), &address) == 1 else {
            return
        }
        server = (UInt32(bigEndian: address.s_addr), port)
    }

    /// Most hosts that are looked at.
    static let mostHosts = 50

    /// One line for each thing that clients will stumble over; nil where no resolver answers.
    func notes(_ config: ServerConfig) -> [String]? {
        var notes: [String] = []
        // Nobody looks an address up.
        let hosts = config.hosts.filter { SelfSignedCertificate.address($0.name) == nil }
        for host in hosts.prefix(Self.mostHosts) {
            guard let found = shortcomings(of: host.name, config.listeners) else { return nil }
            notes += found
        }
        return notes
    }

    private func shortcomings(of host: String, _ listeners: [ListenerConfig]) -> [String]? {
        let name = SelfSignedCertificate.ascii(host) ?? host
        guard let plain = services("_xmpp-client._tcp.\(name)"), let direct = services("_xmpps-client._tcp.\(name)"),
            let v4 = count(name, Int32(ns_t_a.rawValue)), let v6 = count(name, Int32(ns_t_aaaa.rawValue))
        else { return nil }
        let startTLS = listeners.filter { $0.tls != .direct }
        let directTLS = listeners.filter { $0.tls == .direct }
        var notes: [String] = []
        if plain.isEmpty, direct.isEmpty {
            if v4 + v6 == 0 {
                notes.append("\(host): no SRV record and no address: no client can find this host")
            } else if !startTLS.contains(where: { $0.port == 5222 }) {
                notes.append("\(host): no SRV record, so clients try port 5222, where nothing listens")
            }
        }
        notes += strangers(plain, "_xmpp-client._tcp.\(host)", among: startTLS)
        notes += strangers(direct, "_xmpps-client._tcp.\(host)", among: directTLS)
        if !directTLS.isEmpty, direct.isEmpty, !plain.isEmpty {
            notes.append("\(host): no _xmpps-client._tcp record, so no client uses the port with direct TLS")
        }
        for service in plain + direct where service.target != "." && service.target != "" {
            guard let v4 = count(service.target, Int32(ns_t_a.rawValue)),
                let v6 = count(service.target, Int32(ns_t_aaaa.rawValue))
            else { return nil }
            if v4 + v6 == 0 { notes.append("\(host): the SRV record's target \(service.target) has no address") }
        }
        return notes
    }

    private struct Service {
        var port: Int
        var target: String
    }

    private func strangers(_ services: [Service], _ name: String, among listeners: [ListenerConfig]) -> [String] {
        services.compactMap { service in
            guard service.target != ".", service.target != "", !listeners.contains(where: { $0.port == service.port })
            else { return nil }
            return "\(name) names port \(service.port), where no listener of this config speaks that"
        }
    }

    /// Nil: nobody answers.
    private func services(_ name: String) -> [Service]? {
        var found = [martlet_srv](repeating: martlet_srv(), count: 16)
        let count = query(name, Int32(ns_t_srv.rawValue), &found)
        guard count >= 0 else { return nil }
        return found.prefix(Int(count)).map { entry in
            let target = withUnsafeBytes(of: entry.target) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            return Service(port: Int(entry.port), target: target)
        }
    }

    private func count(_ name: String, _ type: Int32) -> Int? {
        var none: [martlet_srv] = []
        let count = query(name, type, &none)
        return count < 0 ? nil : Int(count)
    }

    private func query(_ name: String, _ type: Int32, _ found: inout [martlet_srv]) -> Int32 {
        martlet_dns_query(
            name, type, server?.address ?? 0, server?.port ?? 0, patience, &found, Int32(found.count))
    }
}
