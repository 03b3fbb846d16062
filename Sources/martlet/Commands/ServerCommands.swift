import ArgumentParser
import Foundation
import ModuleKit

/// A command that the running server carries out.
protocol ServerCommand: AsyncParsableCommand {
    var server: ServerOptions { get }
    var request: ControlRequest { get }
}

struct ServerOptions: ParsableArguments {
    @OptionGroup var config: ConfigOption
    @Flag(help: "Print the server's answer as JSON.")
    var json = false

    func client() throws(ConfigErrors) -> ControlClient {
        ControlClient(directory: try config.dataDirectory())
    }
}

extension ServerCommand {
    func run() async throws {
        try await carryOut()
    }

    func carryOut() async throws {
        let answer = try server.client().answer(request)
        if server.json, answer.error == nil {
            FileHandle.standardOutput.write(try ControlCoding.line(answer))
        } else {
            Terminal.show(try answer.output())
        }
    }
}

struct Sessions: ServerCommand {
    static let configuration = CommandConfiguration(abstract: "List who is connected.")
    @OptionGroup var server: ServerOptions

    var request: ControlRequest { ControlRequest(command: "sessions") }
}

struct Kick: ServerCommand {
    static let configuration = CommandConfiguration(
        abstract: "End the sessions of an account, or one of them.",
        discussion: "The client is told and may log in again. Ends with 2 if there is no such session.")
    @Argument(help: ArgumentHelp("Whose sessions; with a resource, which one.", valueName: "user@host[/resource]"))
    var address: String
    @Option(help: ArgumentHelp("What the client is told.", valueName: "text")) var reason: String?
    @OptionGroup var server: ServerOptions

    var request: ControlRequest {
        var arguments = ["address": address]
        arguments["reason"] = reason
        return ControlRequest(command: "kick", arguments: arguments)
    }
}

struct BackUp: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copy the database and the secret to a new directory.",
        discussion: """
            Also while the server runs: the copy is of one moment. The command reads the database itself, so whoever calls \
            it must be allowed to, and to write where the copy goes. The directory gets its name when it is complete; what \
            a backup that was killed has left beside it is removed. To restore it, see docs/OPERATIONS.md.
            """)
    @Argument(
        help: ArgumentHelp("Where to; made by the command.", valueName: "directory"),
        completion: .directory)
    var directory: String
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let path = URL(fileURLWithPath: directory).standardizedFileURL.path
        for left in try Backup(of: try config.dataDirectory()).write(to: path) {
            Terminal.complain("\(left) was removed: a backup that did not end had left it")
        }
        Terminal.show(.done("the database was copied to \(path)"))
    }
}

struct Status: ServerCommand {
    static let configuration = CommandConfiguration(abstract: "Show how the server is doing.")
    @OptionGroup var server: ServerOptions

    var request: ControlRequest { ControlRequest(command: "status") }
}

struct Modules: ServerCommand {
    static let configuration = CommandConfiguration(abstract: "List the modules of each host.")
    @OptionGroup var server: ServerOptions
    @Flag(help: "Show which module runs where in a stanza's way, and why.")
    var pipeline = false
    @Flag(help: "Print the specifications that this build implements, in Markdown; needs no server.")
    var xeps = false

    var request: ControlRequest {
        ControlRequest(command: "modules", arguments: pipeline ? ["pipeline": "true"] : [:])
    }

    func run() async throws {
        if xeps {
            FileHandle.standardOutput.write(Data(SpecificationTable.markdown().utf8))
        } else {
            try await carryOut()
        }
    }
}

struct Reload: ServerCommand {
    static let configuration = CommandConfiguration(
        abstract: "Have the server read its config again.",
        discussion: "All or nothing: if anything in it is wrong, the server goes on as it was.")
    @OptionGroup var server: ServerOptions
    @Flag(help: "Only tell what would change.")
    var dryRun = false

    var request: ControlRequest {
        ControlRequest(command: "reload", arguments: dryRun ? ["dry-run": "true"] : [:])
    }
}

struct Stop: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Stop the server in order.", discussion: "Returns when it has ended.")
    @OptionGroup var config: ConfigOption
    @Option(help: ArgumentHelp("Seconds to wait for its end.", valueName: "seconds"))
    var wait = 60

    func run() async throws {
        let directory = try config.dataDirectory()
        let output = try ControlClient(directory: directory).run(ControlRequest(command: "stop"))
        // The lock is the last thing that the server lets go of.
        let deadline = ContinuousClock.now.advanced(by: .seconds(max(0, min(wait, 86_400))))
        while (try? directory.lock()) == nil {
            guard ContinuousClock.now < deadline else {
                throw CommandError.unavailable("the server is stopping but has not ended after \(wait) s")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        Terminal.show(output)
    }
}
