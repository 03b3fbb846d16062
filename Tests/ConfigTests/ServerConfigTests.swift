import Foundation
import ModuleKit
import Testing
import XMPPServer
import XMPPStream

@testable import martlet

@Suite struct `A config` {
    @Test func `with only what must be said has every default`() throws {
        let config = try parse(smallest).config
        #expect(config.hosts.map(\.name) == ["localhost"])
        #expect(config.hosts.first?.certificate == nil)
        #expect(config.hosts.first?.auth == AuthConfig(iterations: 10_000))
        #expect(config.hosts.first?.modules == [])
        #expect(config.loops == nil)
        #expect(config.log == LogConfig(level: .info, format: .logfmt))
        #expect(config.listeners == [ListenerConfig(port: 5222, address: "*", tls: .none)])
        #expect(config.limits == LimitsConfig())
        #expect(config.streamManagement == StreamManagementConfig())
        #expect(config.accounts == AccountsConfig())
        #expect(config.data.hasPrefix("/"))
        #expect(config.data.hasSuffix("/data"))
    }

    @Test func `may say everything`() throws {
        let text = """
            hosts: [Example.ORG, bücher.example]
            data: /srv/martlet
            log: {level: debug, format: json}
            loops: 4
            tls: {certificate: cert.pem, key: /etc/key.pem, client_authorities: people.pem}
            auth: {iterations: 4096, mechanisms: [ANONYMOUS, SCRAM, EXTERNAL], hashes: [SHA-1, SHA-512]}
            listen:
              - {port: 5222, address: 127.0.0.1}
              - {port: 5223, tls: direct, address: "::1"}
            limits:
              unauthenticated:
                {element: 8KiB, depth: 8, attributes: 16, elements: 16, bytes: 16384, timeout: 1m30s, attempts: 5,
                 connections: 100, connections_per_address: 10}
              failed_logins:
                {free: 2, free_per_address: 20, delay: 3s, refuse: 10, refuse_per_address: 200, forget: 1h,
                 entries: 500}
              authenticated: {element: 1MiB, depth: 100, attributes: 50, elements: 5000, sessions: 8, unread: 2MiB}
            stream_management: {resume: 0s, spill: 500ms, queue: 100, queue_bytes: 65536}
            accounts: {cache: 1GiB, inbox: 50}
            modules:
              box: {limit: 5, expiry: 2w}
              ping:
            """
        let config = try parse(text).config
        #expect(config.hosts.map(\.name) == ["example.org", "bücher.example"])
        #expect(config.data == "/srv/martlet")
        #expect(config.log == LogConfig(level: .debug, format: .json))
        #expect(config.loops == 4)
        #expect(config.hosts.allSatisfy { $0.auth.iterations == 4096 })
        #expect(config.hosts.first?.auth.mechanisms == [.anonymous, .scram, .external])
        // In their own order, whatever that of the list is.
        #expect(config.hosts.first?.auth.hashes == [.sha512, .sha1])
        #expect(config.hosts.first?.certificate?.authorities?.hasSuffix("/people.pem") == true)
        #expect(
            config.limits.failedLogins
                == LimitsConfig.FailedLogins(
                    free: 2, freePerAddress: 20, delay: .seconds(3), refuse: 10, refusePerAddress: 200,
                    forget: .seconds(3600), entries: 500))
        #expect(config.hosts.first?.certificate?.certificate.hasSuffix("/cert.pem") == true)
        #expect(config.hosts.first?.certificate?.key == "/etc/key.pem")
        #expect(
            config.listeners == [
                ListenerConfig(port: 5222, address: "127.0.0.1", tls: .required),
                ListenerConfig(port: 5223, address: "::1", tls: .direct),
            ])
        let before = config.limits.unauthenticated
        #expect(before.elements == LimitsConfig.Elements(bytes: 8192, depth: 8, attributes: 16, count: 16))
        #expect(before.bytes == 16384)
        #expect(before.timeout == .seconds(90))
        #expect(before.attempts == 5)
        #expect((before.connections, before.connectionsPerAddress) == (100, 10))
        let after = config.limits.authenticated
        #expect(after.elements == LimitsConfig.Elements(bytes: 1 << 20, depth: 100, attributes: 50, count: 5000))
        #expect((after.sessions, after.unread) == (8, 2 << 20))
        #expect(
            config.streamManagement
                == StreamManagementConfig(resume: .zero, spill: .milliseconds(500), queue: 100, queueBytes: 65536))
        #expect(config.accounts == AccountsConfig(cache: 1 << 30, inbox: 50))
        #expect(config.hosts.first?.modules.map(\.name) == ["box", "ping"])
    }

    @Test func `lays what a host says over what all hosts say`() throws {
        let text = """
            hosts: [a.example, b.example]
            listen: [{port: 5222}]
            tls: {certificate: a.pem, key: a.key}
            auth: {iterations: 5000}
            modules:
              box: {limit: 5, expiry: 2d}
              ping:
            host_config:
              B.example:
                tls: {certificate: b.pem, key: b.key}
                auth: {iterations: 6000}
                modules:
                  box: {limit: 7}
                  ping: false
            """
        let config = try parse(text).config
        let (first, second) = (config.hosts[0], config.hosts[1])
        #expect(first.modules.map(\.name) == ["box", "ping"])
        #expect(second.modules.map(\.name) == ["box"])
        #expect(first.auth.iterations == 5000)
        #expect(second.auth.iterations == 6000)
        #expect(second.certificate?.certificate.hasSuffix("/b.pem") == true)
        func box(_ host: HostConfig) -> BoxOptions {
            let report = ConfigReport()
            var section = report.section(host.modules[0].node, path: host.modules[0].path)
            return BoxOptions(from: &section)
        }
        #expect(box(first).limit == 5)
        #expect(box(second).limit == 7)
        #expect(box(second).expiry == .days(2))
    }

    @Test func `equals one that says the same in other lines`() throws {
        let one = try parse("hosts: [localhost]\nlisten: [{port: 1, tls: none}]\nmodules: {box: {limit: 5}}").config
        let other = try parse(
            "# moved\nlisten:\n  - tls: none\n    port: 1\n\nhosts:\n- localhost\nmodules:\n  box:\n    limit: 5"
        ).config
        #expect(one == other)
        #expect(one != (try parse(smallest).config))
    }

    @Test(arguments: [
        ("optional", "passwords and messages of clients that do not ask for TLS go in clear text"),
        ("none", "passwords and messages of all clients of this port go in clear text"),
    ]) func `warns of clear text`(_ mode: String, _ reason: String) throws {
        let text = "hosts: [localhost]\nlisten:\n  - port: 1\n    tls: \(mode)\ntls: {certificate: c, key: k}"
        let warnings = try parse(text).warnings
        #expect(warnings.map(\.description) == ["martlet.yml:4: listen[0].tls: \(reason)"])
    }

    @Test func `with TLS everywhere has no warning`() throws {
        let text = "hosts: [localhost]\nlisten: [{port: 1}, {port: 2, tls: direct}]\ntls: {certificate: c, key: k}"
        #expect(try parse(text).warnings == [])
    }

    @Test func `takes the same port on two addresses`() throws {
        let text = """
            hosts: [localhost]
            listen:
              - {port: 1, tls: none, address: 127.0.0.1}
              - {port: 1, tls: none, address: 127.0.0.2}
              - {port: 0, tls: none}
              - {port: 0, tls: none}
            """
        #expect(try parse(text).config.listeners.count == 4)
    }

    @Test func `that is shipped or made by setup is right and says nothing but defaults`() throws {
        let text = ConfigExample.render(ConfigExample.shipped)
        let config = try ConfigFile.parse(text, file: "martlet.yml").config
        #expect(config.hosts.map(\.name) == ["example.org"])
        #expect(config.limits == LimitsConfig())
        #expect(config.streamManagement == StreamManagementConfig())
        #expect(config.listeners.map(\.port) == [5222, 5223])
        // Every commented default is a value that may stand there.
        let uncommented = text.split(separator: "\n").map { line in
            let isOption = line.wholeMatch(of: /\ +# [a-z_]+: [^ ]+/) != nil && !line.hasSuffix("…")
            return String(isOption ? line.replacing("# ", with: "", maxReplacements: 1) : line)
        }.joined(separator: "\n")
        #expect(uncommented.contains("\n    timeout: 30s\n"))
        var said = try ConfigFile.parse(uncommented, file: "martlet.yml").config
        var unsaid = config
        // The modules' sections are compared as options, by the modules.
        for index in said.hosts.indices { said.hosts[index].modules = [] }
        for index in unsaid.hosts.indices { unsaid.hosts[index].modules = [] }
        #expect(said == unsaid)
    }
}

@Suite struct `The data directory` {
    @Test(arguments: [
        ("data: /srv/x\nnonsense: [", "/tmp/data"), ("data: /srv/x\nnonsense: 1", "/srv/x"),
        ("hosts: [a]", "/tmp/data"),
        ("data: there", "/tmp/there"), ("data: [1]", "/tmp/data"), ("", "/tmp/data"),
    ]) func `is found in a config that is wrong, so that its server can be stopped`(
        _ text: String, _ expected: String
    ) throws {
        let path = "/tmp/martlet-test-\(UInt64.random(in: 0 ... .max)).yml"
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        defer { unlink(path) }
        #expect(try ConfigFile.dataDirectory(path).path == expected)
    }
}
