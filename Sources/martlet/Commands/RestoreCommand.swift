import ArgumentParser
import Foundation
import ModuleKit

struct Restore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Put a backup into the data directory.",
        discussion: """
            Only while no server runs. The backup is read from end to end before anything is replaced; it stays as it is. \
            A database that is there already is kept: without --force nothing is done, with it the old one is moved into \
            a directory of its own beside the new one. A restore that was cut short is run again.
            """)
    @Argument(
        help: ArgumentHelp("What `martlet backup` has made.", valueName: "directory"),
        completion: .directory)
    var directory: String
    @Flag(help: "Also where there is a database; it is moved aside.") var force = false
    @OptionGroup var config: ConfigOption

    func run() async throws {
        let backup = URL(fileURLWithPath: directory).standardizedFileURL.path
        let work = Restoration(
            of: backup, to: try config.dataDirectory(), isForced: force, now: LineLogHandler.wallClock())
        Terminal.show(.done(try work.run()))
    }
}
