import ModuleKit
import Testing
import XMPPServer

@testable import martlet

@Suite struct `The limits of a config` {
    private func limits(_ text: String) throws -> LimitsConfig {
        try parse(smallest + "\nlimits: \(text)\n").config.limits
    }

    private func proxies(_ text: String) throws -> [AddressRange] {
        try parse("hosts: [localhost]\nlisten: [{port: 5222, tls: none, proxy: \(text)}]\n").config.listeners
            .flatMap(\.proxies)
    }

    @Test func `are generous, and nobody is watched or slowed, unless it says so`() throws {
        let limits = LimitsConfig()
        #expect(limits.authenticated.connectionsPerAddress == 100_000)
        #expect((limits.authenticated.idle, limits.authenticated.keepalive) == (nil, nil))
        #expect(limits.authenticated.rate == nil)
        #expect(limits.lost == .seconds(600))
    }

    @Test func `are read`() throws {
        let limits = try limits(
            """
            {lost: 2m, authenticated: {connections_per_address: 7, conflict: refuse, idle: 30m, keepalive: 1m, rate: 10KiB,
              burst: 64KiB}}
            """)
        #expect(limits.lost == .seconds(120))
        #expect(
            limits.authenticated
                == LimitsConfig.Authenticated(
                    connectionsPerAddress: 7, conflict: .refuse, idle: .seconds(1800), keepalive: .seconds(60),
                    rate: 10_240, burst: 65_536))
    }

    @Test func `are off when they are nothing`() throws {
        let limits = try limits("{authenticated: {idle: 0s, keepalive: 0s, rate: 0}}")
        #expect(limits == LimitsConfig())
    }

    @Test(arguments: [
        "lost: 9s", "lost: 25h", "authenticated: {idle: 9s}", "authenticated: {keepalive: 9s}",
        "authenticated: {rate: 1023}",
        "authenticated: {burst: 1}", "authenticated: {connections_per_address: 0}", "authenticated: {conflict: kill}",
    ])
    func `have ranges`(_ text: String) {
        #expect(errors(smallest + "\nlimits: {\(text)}\n").count == 1)
    }

    @Test func `name the proxies of a port`() throws {
        let proxies = try proxies("[127.0.0.1, 10.0.0.0/8, '2001:db8::/32', '::1']")
        #expect(proxies == ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "::1"].compactMap { AddressRange($0) })
        #expect(proxies.count == 4)
    }

    @Test(arguments: [
        "[]", "[localhost]", "[10.0.0.1/8]", "[10.0.0.0/33]", "['2001:db8::/129']", "[10.0.0.0/]", "[10.0.0.0/-1]",
        "[10.0.0.0/08]", "[10.0.0.0/8/8]", "['']", "[10.0.0]", "[unix]", "['fe80::1%eth0']", "10.0.0.1",
    ])
    func `refuse what is neither an address nor a network`(_ text: String) {
        #expect(errors("hosts: [localhost]\nlisten: [{port: 5222, tls: none, proxy: \(text)}]\n").count == 1)
    }

    @Test func `warn of a network that is everybody`() throws {
        for everybody in ["0.0.0.0/0", "::/0"] {
            let warnings = try parse(
                "hosts: [localhost]\nlisten: [{port: 5222, tls: none, proxy: ['\(everybody)']}]\n"
            ).warnings.map(\.description)
            #expect(warnings.contains { $0.contains("anybody") })
        }
    }

    @Test(arguments: [
        ("10.0.0.0/8", "10.255.0.1", true), ("10.0.0.0/8", "11.0.0.1", false), ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ("::ffff:10.0.0.1", "10.0.0.1", true), ("192.0.2.128/25", "192.0.2.127", false),
        ("192.0.2.128/25", "192.0.2.200", true), ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8::/33", "2001:db8:7fff::1", true), ("2001:db8::/33", "2001:db8:8000::1", false),
        ("::1", "0:0:0:0:0:0:0:1", true), ("0.0.0.0/0", "203.0.113.5", true), ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "203.0.113.5", true), ("::/0", "", false), ("10.0.0.0/8", "10.0.0", false),
    ])
    func `know who is within a network`(_ row: (range: String, address: String, isWithin: Bool)) throws {
        #expect(try #require(AddressRange(row.range)).contains(row.address) == row.isWithin)
    }
}
