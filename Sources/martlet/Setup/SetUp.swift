import ArgumentParser
import Foundation
import ModuleKit
import XMPPServer

struct SetUp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "setup",
        abstract: "Make a config, a certificate, and a data directory with an empty database for a domain.",
        discussion: """
            Overwrites nothing. With --data and no domain: only the data directory and the database that a config names, \
            for a config that was written by hand.
            """)

    @Argument(help: "The domain of the addresses: user@DOMAIN.") var domain: String?
    @Option(help: ArgumentHelp("Where to.", valueName: "directory")) var dir: String?
    @Flag(help: "Only the data directory and the database that the config names.") var data = false
    @OptionGroup var config: ConfigOption
    @Option(help: "Port for STARTTLS.") var port = 5222
    @Option(help: "Port for TLS from the first byte.") var tlsPort = 5223
    @Option(help: "Address to listen on.") var address = "*"

    func run() async throws {
        if data { return try setUpData() }
        guard let domain, let dir else { throw CommandError.usage("setup needs a domain, and --dir to say where to") }
        guard config.path == nil else { throw CommandError.usage("setup makes a config; -c goes with --data") }
        guard let domain = BareJID.domain(domain)?.domain else {
            throw CommandError.usage("\(domain.quotedForPrint) is not a valid domain name")
        }
        let values = ConfigExample.Values(domain: domain, port: port, tlsPort: tlsPort, address: address)
        let target = URL(fileURLWithPath: dir).standardizedFileURL.path
        let text = ConfigExample.render(values)
        // What is written must be right before it is written; this also checks the ports.
        do {
            _ = try ConfigFile.parse(text, file: "martlet.yml")
        } catch {
            throw CommandError.usage(error.problems.first?.reason ?? "the config would be wrong")
        }
        let certificate = try SelfSignedCertificate(domain: domain)
        try NewFiles.directory(target)
        let data = DataDirectory(path: "\(target)/data")
        guard !data.hasDatabase else {
            throw CommandError.exists("\(data.databasePath) exists already; nothing was changed")
        }
        try NewFiles.write([
            NewFiles.File(path: "\(target)/martlet.yml", bytes: Array(text.utf8), mode: 0o644),
            NewFiles.File(path: "\(target)/cert.pem", bytes: certificate.certificate, mode: 0o644),
            NewFiles.File(path: "\(target)/key.pem", bytes: certificate.key, mode: 0o600),
        ])
        try data.setUp()
        print(
            """
            Made \(target): martlet.yml, a self-signed certificate for \(domain), the data directory with a new database.
            Next: martlet account add USER@\(domain) -c \(target)/martlet.yml
                  martlet serve -c \(target)/martlet.yml
            """)
    }
}

extension SetUp {
    private func setUpData() throws {
        guard domain == nil, dir == nil else { throw CommandError.usage("--data goes with a config and no domain") }
        let directory = DataDirectory(path: try config.load().config.data)
        Terminal.show(.done(try directory.setUp()))
    }
}

/// Writes files that must not be there yet.
enum NewFiles {
    struct File {
        let path: String
        let bytes: [UInt8]
        let mode: mode_t
    }

    static func directory(_ path: String) throws(CommandError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw .unavailable("\(path) cannot be made: \(systemError())")
        }
    }

    /// All or none of them.
    static func write(_ files: [File]) throws(CommandError) {
        var written: [String] = []
        do throws(CommandError) {
            for file in files {
                try write(file)
                written.append(file.path)
            }
        } catch {
            for path in written { unlink(path) }
            throw error
        }
    }

    private static func write(_ file: File) throws(CommandError) {
        let descriptor = open(file.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file.mode)
        guard descriptor >= 0 else {
            if errno == EEXIST { throw .exists("\(file.path) exists already; nothing was changed") }
            throw .unavailable("\(file.path) cannot be made: \(systemError())")
        }
        defer { close(descriptor) }
        var rest = file.bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let reason = systemError()
                unlink(file.path)
                throw .unavailable("\(file.path) cannot be written: \(reason)")
            }
            rest = rest.dropFirst(count)
        }
    }
}
