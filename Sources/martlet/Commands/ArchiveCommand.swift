import ArgumentParser
import ModuleKit

/// The commands of the module `mam`.
struct ArchiveCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "archive", abstract: "Show or empty the archive of an account.",
        subcommands: [ShowArchive.self, PurgeArchive.self])
}

private let addressHelp = ArgumentHelp("Whose archive.", valueName: "user@host")

struct ShowArchive: ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show how many messages are in it, from when to when.")
    @Argument(help: addressHelp) var address: String
    @OptionGroup var server: ServerOptions

    var request: ControlRequest { ControlRequest(command: "archive show", arguments: ["address": address]) }
}

struct PurgeArchive: ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "purge", abstract: "Empty it, or drop what is older than a time.")
    @Argument(help: addressHelp) var address: String
    @Option(help: ArgumentHelp("Drop only what is older, like 2026-01-31T00:00:00Z.", valueName: "time"))
    var before: String?
    @OptionGroup var server: ServerOptions

    var request: ControlRequest {
        var arguments = ["address": address]
        arguments["before"] = before
        return ControlRequest(command: "archive purge", arguments: arguments)
    }
}
