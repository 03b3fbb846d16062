import Foundation
import ModuleKit
import Testing
import XMPPServer

@testable import martlet

@Suite struct `Setup` {
    private func mode(_ path: String) throws -> Int? {
        try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    }

    @Test func `makes a config that is right, a certificate for the domain, and a private data directory`() async throws
    {
        let directory = try TemporaryDirectory()
        let target = directory.path + "/server"
        #expect(await Martlet.run(["setup", "Bücher.example", "--dir", target, "--port", "1", "--tls-port", "2"]) == 0)
        let file = try ConfigFile.load(target + "/martlet.yml")
        #expect(file.config.hosts.map(\.name) == ["bücher.example"])
        #expect(file.config.listeners.map(\.port) == [1, 2])
        #expect(file.config.data == target + "/data")
        #expect(file.warnings == [])
        #expect(try mode(target + "/key.pem") == 0o600)
        #expect(try mode(target + "/data") == 0o700)
        #expect(try mode(target + "/data/martlet.db") == 0o600)
        #expect(try mode(target + "/data/secret") == 0o600)
        #expect(Permissions.warnings(DataDirectory(path: target + "/data")) == [])
        let report = ConfigReport(file: "martlet.yml")
        CertificateCheck.check(file.config, into: report)
        #expect(report.errors == [])
        #expect(report.warnings == [])
    }

    @Test(arguments: ["127.0.0.1", "[::1]"])
    func `makes a server whose host is an IP address`(host: String) async throws {
        let directory = try TemporaryDirectory()
        let target = directory.path + "/server"
        #expect(await Martlet.run(["setup", host, "--dir", target, "--port", "1", "--tls-port", "2"]) == 0)
        let file = try ConfigFile.load(target + "/martlet.yml", further: CertificateCheck.check)
        #expect(file.config.hosts.map(\.name) == [host])
        #expect(file.warnings == [])
    }

    @Test func `overwrites nothing`() async throws {
        let directory = try TemporaryDirectory()
        let config = directory.path + "/cert.pem"
        try "mine".write(toFile: config, atomically: false, encoding: .utf8)
        #expect(await Martlet.run(["setup", "localhost", "--dir", directory.path]) == 3)
        #expect(try String(contentsOfFile: config, encoding: .utf8) == "mine")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["cert.pem"])
    }

    @Test(arguments: [["a b"], ["localhost", "--port", "70000"], ["localhost", "--port", "5223"], [""]])
    func `refuses what would not work`(_ arguments: [String]) async throws {
        let directory = try TemporaryDirectory()
        #expect(await Martlet.run(["setup", "--dir", directory.path] + arguments) == 64)
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == [])
    }
}

@Suite struct `Certificates` {
    private func problems(
        host: String = "localhost", certificate: String, key: String, now: time_t = time(nil)
    ) throws -> (errors: [String], warnings: [String]) {
        let (first, second) = (try TemporaryFile(certificate), try TemporaryFile(key))
        let text = """
            hosts: [\(host)]
            listen: [{port: 1}]
            tls: {certificate: \(first.path), key: \(second.path)}
            """
        let config = try ConfigFile.parse(text, file: "m.yml").config
        let report = ConfigReport(file: "m.yml")
        CertificateCheck.check(config, into: report, now: now)
        func names(_ problem: ConfigProblem) -> String {
            problem.description.replacingOccurrences(of: first.path, with: "CERT")
                .replacingOccurrences(of: second.path, with: "KEY")
        }
        return (report.errors.map(names), report.warnings.map(names))
    }

    private let made: (certificate: String, key: String)

    init() throws {
        let certificate = try SelfSignedCertificate(domain: "localhost")
        made = (
            String(decoding: certificate.certificate, as: UTF8.self), String(decoding: certificate.key, as: UTF8.self)
        )
    }

    @Test func `of this host and this day are right`() throws {
        let (errors, warnings) = try problems(certificate: made.certificate, key: made.key)
        #expect(errors == [])
        #expect(warnings == [])
    }

    @Test(arguments: [("127.0.0.1", "127.0.0.2"), ("[::1]", "[::2]"), ("[2001:db8::1]", "127.0.0.1")])
    func `of a host that is an IP address name it as one`(host: String, other: String) throws {
        let made = try SelfSignedCertificate(domain: host)
        let certificate = String(decoding: made.certificate, as: UTF8.self)
        let key = String(decoding: made.key, as: UTF8.self)
        #expect(try problems(host: "\"\(host)\"", certificate: certificate, key: key).warnings == [])
        #expect(
            try problems(host: "\"\(other)\"", certificate: certificate, key: key).warnings
                == ["m.yml:3: tls.certificate: CERT is not for \(other)"])
        // What only looks like the address is a name.
        #expect(try problems(host: "localhost", certificate: certificate, key: key).warnings.count == 1)
    }

    @Test func `that name an address as a domain are not for it`() throws {
        #expect(
            try problems(host: "\"[::2]\"", certificate: made.certificate, key: made.key).warnings
                == ["m.yml:3: tls.certificate: CERT is not for [::2]"])
        #expect(try problems(host: "\"[::1]\"", certificate: made.certificate, key: made.key).warnings == [])
    }

    @Test func `that cannot be read are errors`() throws {
        let (errors, _) = try problems(certificate: "nonsense", key: "-----BEGIN PRIVATE KEY-----\nAAAA\n")
        #expect(
            errors == [
                "m.yml:3: tls.certificate: CERT holds no certificate in PEM form",
                "m.yml:3: tls.key: KEY holds no key in PEM form, or one with a passphrase",
            ])
    }

    @Test func `must be whole and strong enough for OpenSSL`() throws {
        let broken = made.certificate + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        let (errors, _) = try problems(certificate: broken, key: made.key)
        #expect(errors.count == 1)
        #expect(errors.first?.hasPrefix("m.yml:3: tls.certificate: CERT cannot be used: ") == true)
    }

    @Test func `that are pipes are refused without waiting for a writer`() throws {
        let directory = try TemporaryDirectory()
        let pipe = directory.path + "/pipe"
        try #require(mkfifo(pipe, 0o600) == 0)
        let report = ConfigReport(file: "m.yml")
        let text = "hosts: [localhost]\nlisten: [{port: 1}]\ntls: {certificate: \(pipe), key: \(pipe)}"
        CertificateCheck.check(try ConfigFile.parse(text, file: "m.yml").config, into: report)
        #expect(report.errors.map(\.reason) == Array(repeating: "\(pipe) cannot be read: it is a pipe", count: 2))
    }

    @Test func `have their errors told with those of the config`() throws {
        let text = "hosts: [localhost]\nlisten: [{port: 1}]\nspeed: 1\ntls: {certificate: /nowhere/c, key: /nowhere/k}"
        let found = #expect(throws: ConfigErrors.self) {
            try ConfigFile.parse(text, file: "m.yml", further: CertificateCheck.check)
        }
        #expect(found?.problems.map(\.key) == ["speed", "tls.certificate", "tls.key"])
        let half = "hosts: [localhost]\nlisten: [{port: 1}]\ntls: {certificate: /nowhere/c}"
        let other = #expect(throws: ConfigErrors.self) {
            try ConfigFile.parse(half, file: "m.yml", further: CertificateCheck.check)
        }
        #expect(other?.problems.map(\.key) == ["tls.key"])
    }

    @Test func `have another digest when there is something else in their files`() throws {
        let (first, second) = (try TemporaryFile(made.certificate), try TemporaryFile(made.key))
        let text = "hosts: [localhost]\nlisten: [{port: 1}]\ntls: {certificate: \(first.path), key: \(second.path)}"
        let config = try ConfigFile.parse(text, file: "m.yml").config
        let before = CertificateCheck.digest(config)
        #expect(CertificateCheck.digest(config) == before)
        try (made.certificate + "\n").write(toFile: first.path, atomically: false, encoding: .utf8)
        #expect(CertificateCheck.digest(config) != before)
    }

    @Test func `must have the key that belongs to them`() throws {
        let other = String(decoding: try SelfSignedCertificate(domain: "localhost").key, as: UTF8.self)
        let (errors, _) = try problems(certificate: made.certificate, key: other)
        #expect(errors == ["m.yml:3: tls.key: KEY is not the key of CERT"])
    }

    @Test func `of another host or another day get a warning`() throws {
        let day = 86_400
        #expect(
            try problems(host: "example.org", certificate: made.certificate, key: made.key).warnings
                == ["m.yml:3: tls.certificate: CERT is not for example.org"])
        #expect(
            try problems(certificate: made.certificate, key: made.key, now: time(nil) + 1000 * day).warnings
                == ["m.yml:3: tls.certificate: CERT has expired"])
        #expect(
            try problems(certificate: made.certificate, key: made.key, now: time(nil) - 2 * day).warnings
                == ["m.yml:3: tls.certificate: CERT is not valid yet"])
    }
}

@Suite struct `A data directory` {
    @Test func `is locked by one at a time`() throws {
        let directory = try TemporaryDirectory()
        let data = DataDirectory(path: directory.path)
        do {
            let lock = try data.lock()
            #expect(throws: CommandError.unavailable("another process is using \(directory.path)")) { try data.lock() }
            withExtendedLifetime(lock) {}
        }
        #expect(throws: Never.self) { try data.lock() }
    }

    @Test(arguments: ["hard link", "symbolic link", "lock file that was removed"])
    func `is locked though its database has another name`(_ way: String) throws {
        let (first, second) = (try TemporaryDirectory(), try TemporaryDirectory())
        let (data, other) = (DataDirectory(path: first.path), DataDirectory(path: second.path))
        try "x".write(toFile: data.databasePath, atomically: false, encoding: .utf8)
        let again = way == "lock file that was removed" ? data : other
        do {
            let lock = try data.lock()
            switch way {
            case "hard link": try #require(link(data.databasePath, other.databasePath) == 0)
            case "symbolic link": try #require(symlink(data.databasePath, other.databasePath) == 0)
            default: try #require(unlink(data.lockPath) == 0)
            }
            let reason = "another process is using \(again.databasePath), perhaps by another name"
            #expect(throws: CommandError.unavailable(reason)) { try again.lock() }
            withExtendedLifetime(lock) {}
        }
        #expect(throws: Never.self) { try again.lock() }
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func `owns what root makes in it`() throws {
        let directory = try TemporaryDirectory()
        try #require(chown(directory.path, 65_534, 65_534) == 0)
        func owner(_ name: String) -> uid_t? {
            var file = stat()
            return lstat("\(directory.path)/\(name)", &file) == 0 ? file.st_uid : nil
        }
        let data = DataDirectory(path: directory.path)
        let lock = try data.lock()
        #expect(owner("martlet.lock") == 65_534)
        withExtendedLifetime(lock) {}
        for name in ["martlet.db", "secret", "other"] {
            try "x".write(toFile: "\(directory.path)/\(name)", atomically: false, encoding: .utf8)
        }
        // What has another name may be somebody else's, and links lead elsewhere.
        let elsewhere = try TemporaryFile("x")
        try #require(link(elsewhere.path, "\(directory.path)/martlet.db-wal") == 0)
        try #require(symlink(elsewhere.path, "\(directory.path)/martlet.db-shm") == 0)
        data.giveToOwner()
        #expect(owner("martlet.db") == 65_534)
        #expect(owner("secret") == 65_534)
        #expect(owner("other") == 0)
        #expect(owner("martlet.db-wal") == 0)
        #expect(owner("martlet.db-shm") == 0)
    }

    @Test func `is made for its owner's eyes only`() throws {
        let directory = try TemporaryDirectory()
        let data = DataDirectory(path: directory.path + "/a/b")
        try data.create()
        try data.create()
        let mode = try FileManager.default.attributesOfItem(atPath: data.path)[.posixPermissions] as? Int
        #expect(mode == 0o700)
    }
}

@Suite struct `A table` {
    @Test func `has aligned columns on a terminal and tabs elsewhere, and no control characters`() {
        let rows = [["romeo@localhost", "1"], ["j\u{1b}[2J", "22"]]
        #expect(
            Terminal.table(["address", "n"], rows, aligned: true)
                == "address          n\nromeo@localhost  1\nj\\u{1b}[2J       22")
        #expect(
            Terminal.table(["address", "n"], rows, aligned: false)
                == "address\tn\nromeo@localhost\t1\nj\\u{1b}[2J\t22")
    }
}
