import ArgumentParser
import Foundation
import ModuleKit
import XMPPServer

/// The options of the config, as the code that reads them describes them: what the reference and the annotated example
/// are made of.
enum OptionReference {
    /// Those of the server, in the order of the file.
    static func server() -> [OptionDescription] {
        let report = ConfigReport()
        var section = report.describingSection()
        let surroundings = ServerConfig.Surroundings(directory: "/") { $0 }
        _ = ServerConfig(from: &section, in: surroundings)
        return report.descriptions
    }

    /// Those of one module, below `modules.NAME`.
    static func module(_ type: any Module.Type) -> [OptionDescription] {
        let report = ConfigReport()
        var section = report.describingSection(path: "modules.\(type.info.name)")
        StandardModules.check(type, &section)
        return report.descriptions
    }

    /// docs/CONFIG.md.
    static func markdown(modules: [any Module.Type] = StandardModules.all) -> String {
        var text = """
            # The config, option by option

            Made by `make docs` from the code that reads the options; changes here are lost.

            Times are written with their unit (`500ms`, `30s`, `10m`, `1h`, `90d`), sizes as bytes or with `KiB`, `MiB`, \
            `GiB`. A key that is not listed here is an error.


            """
        text += table("martlet.yml", server())
        for module in modules {
            let options = self.module(module)
            text +=
                options.isEmpty
                ? "## modules.\(module.info.name)\n\nHas no options.\n\n"
                : table("modules.\(module.info.name)", options)
        }
        return text.trimmingCharacters(in: .newlines) + "\n"
    }

    private static func table(_ title: String, _ options: [OptionDescription]) -> String {
        var text = "## \(title)\n\n| option | value | default | meaning |\n|---|---|---|---|\n"
        for option in options {
            let kind = option.range.map { "\(option.kind), \($0)" } ?? option.kind
            let value = option.defaultValue.map { "`\($0)`" } ?? (option.isRequired ? "required" : "")
            let cells = ["`\(option.path)`", kind, value, option.documentation]
            text += "| " + cells.map { $0.replacingOccurrences(of: "|", with: "\\|") }.joined(separator: " | ") + " |\n"
        }
        return text + "\n"
    }
}

struct DescribeConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe-config", abstract: "Print the reference of the config in Markdown.", shouldDisplay: false
    )
    @Flag(help: "Print an annotated config instead.") var example = false

    func run() async throws {
        let text = example ? ConfigExample.render(ConfigExample.shipped) : OptionReference.markdown()
        FileHandle.standardOutput.write(Data(text.utf8))
    }
}
