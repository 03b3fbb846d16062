import ModuleKit
import Testing

@testable import martlet

@Suite struct `A config with an error` {
    struct Case: CustomTestStringConvertible {
        /// Comes after the smallest config, so its first line is line 3.
        let text: String
        let error: String
        var testDescription: String { error }

        init(_ text: String, _ error: String) {
            self.text = text
            self.error = "martlet.yml:" + error
        }
    }

    static let cases: [Case] = [
        // Keys
        Case("loop: 1", "3: loop: unknown key, did you mean \"loops\"?"),
        Case("log: {levle: info}", "3: log.levle: unknown key, did you mean \"level\"?"),
        Case("log: {colour: red}", "3: log.colour: unknown key, known here: level, format"),
        Case("data: a\ndata: b", "4: data: stands here twice, first in line 3"),
        Case("log:\n  level: info\n  \"level\": debug", "5: log.level: stands here twice, first in line 4"),
        Case("[a]: b", "3: a key must be a plain name"),
        Case("<<: {data: x}", "3: merge keys (<<) are not supported"),
        // Types
        Case("loops: many", "3: loops: expected a whole number, found \"many\""),
        Case("loops: 1.5", "3: loops: expected a whole number, found \"1.5\""),
        Case("loops: \"2\"", "3: loops: expected a whole number, found \"2\""),
        Case("loops: -1", "3: loops: expected a whole number, found \"-1\""),
        Case("loops: 99999999999999999999", "3: loops: expected a whole number, found \"99999999999999999999\""),
        Case("loops:", "3: loops: has no value"),
        Case("loops: [1]", "3: loops: expected number, found a list"),
        Case("data: {a: b}", "3: data: expected text, found a section"),
        Case("data: \"\"", "3: data: must not be empty"),
        Case("log: info", "3: log: expected a section of `key: value` lines, found \"info\""),
        Case(
            "log: {level: inof}",
            "3: log.level: expected one of trace, debug, info, notice, warning, error, found \"inof\", did you mean "
                + "\"info\"?"),
        Case(
            "log: {level: \"a\\nb\"}",
            "3: log.level: expected one of trace, debug, info, notice, warning, error, found \"a\\u{a}b\""),
        Case(
            "stream_management: {resume: 600}",
            "3: stream_management.resume: expected a time with its unit, like 500ms, 30s, 10m, 1h or 90d, found \"600\""
        ),
        Case(
            "stream_management: {resume: 10 m}",
            "3: stream_management.resume: expected a time with its unit, like 500ms, 30s, 10m, 1h or 90d, found "
                + "\"10 m\""),
        Case(
            "stream_management: {queue_bytes: 4MB}",
            "3: stream_management.queue_bytes: expected a size like 4096, 256KiB or 4MiB, found \"4MB\""),
        // Lists of choices
        Case(
            "auth: {hashes: [SHA-512, SHA256]}",
            "3: auth.hashes[1]: expected one of SHA-512, SHA-256, SHA-1, found \"SHA256\", did you mean \"SHA-256\"?"),
        Case("auth: {hashes: []}", "3: auth.hashes: is empty"),
        Case("auth: {hashes: SHA-1}", "3: auth.hashes: expected a list, found \"SHA-1\""),
        Case("auth: {hashes: [SHA-1, SHA-1]}", "3: auth.hashes[1]: \"SHA-1\" stands here twice"),
        Case(
            "auth: {mechanisms: [DIGEST-MD5]}",
            "3: auth.mechanisms[0]: expected one of SCRAM-PLUS, SCRAM, EXTERNAL, PLAIN, ANONYMOUS, found \"DIGEST-MD5\""
        ),
        Case(
            "auth: {mechanisms: [SCRAM, EXTERNAL]}",
            "3: auth.mechanisms: has EXTERNAL, which needs `tls.client_authorities`"),
        Case(
            "limits: {failed_logins: {free: 10, refuse: 9}}",
            "3: limits.failed_logins.refuse: is less than `free` of the same section"),
        // Ranges
        Case("loops: 0", "3: loops: 0 is too small, allowed is 1...256"),
        Case("loops: 257", "3: loops: 257 is too large, allowed is 1...256"),
        Case(
            "stream_management: {resume: 2d}",
            "3: stream_management.resume: 2d is too large, allowed is 0s...1d"),
        Case(
            "stream_management: {resume: 9223372036854775807w}",
            "3: stream_management.resume: 9223372036854775807w is too large"),
        Case(
            "stream_management: {queue_bytes: 9223372036854775807GiB}",
            "3: stream_management.queue_bytes: 9223372036854775807GiB is too large"),
        Case(
            "limits: {unauthenticated: {element: 64KiB, bytes: 32KiB}}",
            "3: limits.unauthenticated.element: is larger than `bytes` of the same section"),
        Case(
            "limits: {authenticated: {element: 8KiB}}",
            "3: limits.authenticated.element: must not be less than 10000 (RFC 6120 §13.12)"),
        Case("auth: {iterations: 1000}", "3: auth.iterations: 1000 is too small, allowed is 4096...10000000"),
        Case("data: \"a\\0b\"", "3: data: must not hold control characters"),
        // Certificates
        Case("tls: {certificate: cert.pem}", "3: tls.key: is missing"),
        Case("tls:\n  certificate:\n  key: key.pem", "4: tls.certificate: has no value"),
        // Hosts
        Case(
            "host_config: {localhots: {}}",
            "3: host_config.localhots: this host is not in `hosts`, did you mean \"localhost\"?"),
        Case(
            "host_config: {localhost: 1}",
            "3: host_config.localhost: expected a section of `key: value` lines"),
        Case(
            "host_config: {localhost: {listen: []}}",
            "3: host_config.localhost.listen: unknown key, known here: tls, auth, modules"),
        Case(
            "host_config:\n  localhost:\n    modules:\n      box: {limit: 0}",
            "6: host_config.localhost.modules.box.limit: 0 is too small, allowed is 1...10000"),
        // Modules
        Case("modules: {mam: {}}", "3: modules.mam: there is no such module"),
        Case("modules:\n  box:\n    limt: 5", "5: modules.box.limt: unknown key, did you mean \"limit\"?"),
        Case("modules:\n  ping:\n    idle: 5", "5: modules.ping.idle: unknown key, nothing can be set here"),
        Case(
            "modules: {box: true}",
            "3: modules.box: expected a section of `key: value` lines, found \"true\""),
        Case(
            "modules: {box: {expiry: 1s}}",
            "3: modules.box.expiry: 1s is too small, allowed is at least 1h"),
        Case("modules: [box]", "3: modules: expected a section of `key: value` lines, found a list"),
        // What YAML can do and a config need not
        Case("data: &a x", "3: data: anchors and aliases are not supported"),
        Case("data: !!binary eA==", "3: data: tags (tag:yaml.org,2002:binary) are not supported"),
        Case(
            "---\nhosts: [b]",
            "3: is not valid YAML: but found another document (expected a single document in the "
                + "stream in line 1)"),
        Case(
            "data: [", "4: is not valid YAML: did not find expected node content (while parsing a flow node in line 4)"),
        Case("data: \"\u{1}\"", "3: is not valid YAML: control characters are not allowed"),
    ]

    @Test(arguments: cases) func `is refused with file, line, key and reason`(_ example: Case) {
        #expect(errors(smallest + "\n" + example.text) == [example.error])
    }

    static let whole: [(String, [String])] = [
        ("", ["martlet.yml: is empty"]),
        ("# nothing\n", ["martlet.yml: is empty"]),
        ("martlet", ["martlet.yml:1: expected `key: value` lines"]),
        (
            "hosts: []\nlisten: []",
            ["martlet.yml:1: hosts: is empty", "martlet.yml:2: listen: is empty"]
        ),
        ("listen: [{port: 5222, tls: none}]", ["martlet.yml:1: hosts: is missing"]),
        (
            "hosts: localhost\nlisten: 5222",
            [
                "martlet.yml:1: hosts: expected a list, found \"localhost\"",
                "martlet.yml:2: listen: expected a list, found \"5222\"",
            ]
        ),
        (
            "hosts: [a b, localhost, {a: b}, LOCALHOST, localhost]\nlisten: [{port: 1, tls: none}]",
            [
                "martlet.yml:1: hosts[2]: expected a text, found a section",
                "martlet.yml:1: hosts[4]: \"localhost\" stands here twice",
                "martlet.yml:1: hosts[0]: \"a b\" is not a valid domain name",
                "martlet.yml:1: hosts[3]: \"LOCALHOST\" is the same host as another one here",
            ]
        ),
        (
            "hosts: [localhost]\nlisten:\n  - {port: 70000, tls: none}\n  - {tls: none}\n  - {port: 1, tls: maybe}",
            [
                "martlet.yml:3: listen[0].port: 70000 is too large, allowed is 0...65535",
                "martlet.yml:4: listen[1].port: is missing",
                "martlet.yml:5: listen[2].tls: expected one of required, optional, none, direct, found \"maybe\"",
            ]
        ),
        (
            "hosts: [localhost]\nlisten:\n  - {port: 1, address: example.org, tls: none}",
            ["martlet.yml:3: listen[0].address: expected numeric address, found \"example.org\""]
        ),
        (
            "hosts: [localhost]\nlisten:\n  - {port: 1, tls: none}\n  - {port: 1, address: 127.0.0.1, tls: none}",
            ["martlet.yml:4: listen[1].port: port 1 is taken by listen[0]"]
        ),
        (
            "listen:\n  - {port: 5223, tls: direct}\nhosts:\n  - a.example\n  - b.example\n"
                + "host_config:\n  a.example:\n    tls: {certificate: c, key: k}",
            ["martlet.yml:5: tls: is missing: b.example needs a certificate for listen[0] (tls: direct)"]
        ),
    ]

    @Test(arguments: whole) func `as a whole is refused`(_ text: String, _ expected: [String]) {
        #expect(errors(text) == expected)
    }

    @Test func `has all of its errors told at once, from the top`() {
        let text = """
            data: 5
            hosts: [localhost]
            loops: none
            listen: [{port: 5222, tls: none}]
            log: {level: loud}
            stream_management: {queue: 1}
            loops: 3
            speed: high
            """
        #expect(
            errors(text) == [
                "martlet.yml:3: loops: expected a whole number, found \"none\"",
                "martlet.yml:5: log.level: expected one of trace, debug, info, notice, warning, error, found \"loud\"",
                "martlet.yml:6: stream_management.queue: 1 is too small, allowed is 10...1000000",
                "martlet.yml:7: loops: stands here twice, first in line 3",
                "martlet.yml:8: speed: unknown key, known here: hosts, data, log, loops, listen, limits, "
                    + "stream_management, accounts, tls, auth, modules, host_config",
            ])
    }

    @Test func `has those of tls, auth and modules told too when the hosts are wrong`() {
        let text = """
            hosts: localhost
            listen: [{port: 5222, proxy: [here, 10.0.0.0/8, 10.0.0.0/33]}]
            tls: {certificate: cert.pem}
            auth: []
            modules: {offlin: }
            host_config: {localhost: {modules: {box: }}}
            """
        #expect(
            errors(text) == [
                "martlet.yml:1: hosts: expected a list, found \"localhost\"",
                "martlet.yml:2: listen[0].proxy[0]: \"here\" is neither an address nor a network like 10.0.0.0/8",
                "martlet.yml:2: listen[0].proxy[2]: \"10.0.0.0/33\" is neither an address nor a network like 10.0.0.0/8",
                "martlet.yml:3: tls.key: is missing",
                "martlet.yml:4: auth: expected a section of `key: value` lines, found a list",
                "martlet.yml:5: modules.offlin: there is no such module",
            ])
    }

    @Test func `of a host whose modules need others names those`() {
        func problems(_ modules: String) -> [String] {
            let text = smallest + "\nmodules: {\(modules)}"
            let found = #expect(throws: ConfigErrors.self) { try ConfigFile.parse(text, file: "m.yml") }
            return found?.problems.map(\.description) ?? []
        }
        #expect(
            problems("presence: , last: ") == [
                "m.yml:3: modules.presence: needs roster, which is not enabled",
                "m.yml:3: modules.last: needs roster, which is not enabled",
            ])
        #expect(throws: Never.self) {
            try ConfigFile.parse(smallest + "\nmodules: {last: , presence: , roster: }", file: "m.yml")
        }
    }

    @Test func `that all hosts share has it told once`() {
        let text = """
            hosts: [a.example, b.example, c.example]
            listen: [{port: 5222, tls: none}]
            modules: {box: {limit: none}}
            """
        #expect(
            errors(text) == ["martlet.yml:3: modules.box.limit: expected a whole number, found \"none\""])
    }
}
