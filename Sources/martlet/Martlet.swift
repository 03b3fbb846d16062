import ArgumentParser
import Dispatch
import Foundation
import ModuleKit
import XMPPServer

/// The command line.
struct Martlet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "martlet",
        abstract: "An XMPP server.",
        version: version,
        subcommands: [
            Serve.self, Check.self, SetUp.self, Accounts.self, Sessions.self, Kick.self, ArchiveCommand.self,
            ReportsCommand.self,
            Status.self,
            Modules.self, Reload.self, BackUp.self, Restore.self, Stop.self, DescribeConfig.self,
        ])

    static let version = Build.version

    /// Runs the command that the arguments name and ends the process. An error is one line on standard error; the exit
    /// code is its `CommandError.exitCode`, 64 for arguments that make no sense, 1 otherwise.
    ///
    /// Not `async`: the runtime opens descriptors of its own before it calls a `main` that is.
    static func start() -> Never {
        // EX_OSERR; nobody can be told.
        guard StandardDescriptors.fillGaps() else { Foundation.exit(71) }
        signal(SIGPIPE, SIG_IGN)
        Task {
            let code = await run(Array(CommandLine.arguments.dropFirst()))
            StandardError.flush()
            Foundation.exit(code)
        }
        dispatchMain()
    }

    static func run(_ arguments: [String]) async -> Int32 {
        do {
            var command = try parseAsRoot(arguments)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            return 0
        } catch let error as CommandError {
            Terminal.complain(error.message)
            return error.exitCode
        } catch let error as ConfigErrors {
            Terminal.writeError(error.description)
            return 1
        } catch let code as ExitCode {
            // Everything was said already.
            return code.rawValue
        } catch {
            let code = exitCode(for: error)
            if code == .success {
                print(fullMessage(for: error))
            } else if code == .validationFailure {
                Terminal.complain("\(message(for: error)); `martlet help` lists the commands")
            } else {
                Terminal.complain(message(for: error))
            }
            return code.rawValue
        }
    }
}

/// `-c FILE`, which nearly every command takes.
struct ConfigOption: ParsableArguments {
    @Option(
        name: [.customShort("c"), .customLong("config")],
        help: ArgumentHelp(
            "The config file. Default: $MARTLET_CONFIG, ./martlet.yml or /etc/martlet/martlet.yml.", valueName: "file"))
    var path: String?

    func load() throws(ConfigErrors) -> ConfigFile {
        try ConfigFile.load(path ?? ConfigFile.defaultPath)
    }

    func dataDirectory() throws(ConfigErrors) -> DataDirectory {
        try ConfigFile.dataDirectory(path ?? ConfigFile.defaultPath)
    }
}

struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check the config, the certificates and data it names, and the DNS records of its hosts.",
        discussion: """
            Prints every error as `file:line: key: reason` and ends with 1 if there is one, with 69 if \
            database or secret are missing or damaged. What DNS lacks is no error, nor are messages and accounts in the \
            database that the config leaves waiting.
            """)

    @OptionGroup var config: ConfigOption
    @Flag(inversion: .prefixedNo, help: "Look at the DNS records, where a resolver answers.")
    var dns = true

    func run() async throws {
        let file = try ConfigFile.load(config.path ?? ConfigFile.defaultPath, further: ConfigFile.lookAround)
        for warning in file.warnings { Terminal.writeError("\(warning) (warning)") }
        let data = DataDirectory(path: file.config.data)
        for warning in Permissions.warnings(data) { Terminal.writeError("\(warning) (warning)") }
        try data.examine()
        for note in WaitingCheck(data: data, config: file.config).notes() { Terminal.writeError("\(note) (warning)") }
        if dns {
            if let notes = DNSCheck().notes(file.config) {
                for note in notes { Terminal.writeError("\(note) (warning)") }
            } else {
                Terminal.writeError("no resolver answers: the DNS records were not looked at")
            }
        }
        let hosts = file.config.hosts.map(\.name)
        print(
            "\(file.config.file) is right: \(hosts.count > 5 ? "\(hosts.count) hosts" : hosts.joined(separator: ", "))")
    }
}
