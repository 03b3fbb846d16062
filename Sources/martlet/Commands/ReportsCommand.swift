import ArgumentParser
import ModuleKit

/// The commands of the module `reports`.
struct ReportsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reports", abstract: "List, show and close what users reported when they blocked somebody.",
        subcommands: [ListReports.self, ShowReport.self, CloseReport.self])
}

struct ListReports: ServerCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List the reports that wait.")
    @OptionGroup var server: ServerOptions

    var request: ControlRequest { ControlRequest(command: "reports list") }
}

private let numberHelp = ArgumentHelp("The report's number, as the list shows it.", valueName: "number")

struct ShowReport: ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show one report.", discussion: "Ends with 2 if there is no such report.")
    @Argument(help: numberHelp) var number: Int
    @OptionGroup var server: ServerOptions

    var request: ControlRequest { ControlRequest(command: "reports show", arguments: ["number": String(number)]) }
}

struct CloseReport: ServerCommand {
    static let configuration = CommandConfiguration(
        commandName: "close", abstract: "Remove a report that has been dealt with.",
        discussion: "Ends with 2 if there is no such report.")
    @Argument(help: numberHelp) var number: Int
    @OptionGroup var server: ServerOptions

    var request: ControlRequest { ControlRequest(command: "reports close", arguments: ["number": String(number)]) }
}
