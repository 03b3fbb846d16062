import ModuleKit
import Testing
import XMPPServer

@testable import martlet

/// The smallest config that is right: one host, one port in clear text.
let smallest = """
    hosts: [localhost]
    listen: [{port: 5222, tls: none}]
    """

/// Reads a config in which the modules `box` (options `limit`, `expiry`) and `ping` (none) exist.
func parse(_ text: String) throws(ConfigErrors) -> ConfigFile {
    try ConfigFile.parse(text, file: "martlet.yml", checkModules: checkTestModules)
}

/// The errors of a config as they are printed.
func errors(_ text: String) -> [String] {
    do {
        _ = try parse(text)
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

struct BoxOptions: ModuleOptions {
    var limit: Int
    var expiry: Duration

    init(from section: inout ConfigSection) {
        limit = section.int("limit", default: 200, in: 1...10_000, "Most messages kept per account.")
        expiry = section.duration("expiry", default: .days(90), in: .hours(1)..., "Older ones are dropped.")
    }
}

private func checkTestModules(_ module: ModuleConfig, _ report: ConfigReport) {
    var section = report.section(module.node, path: module.path)
    switch module.name {
    case "box": _ = BoxOptions(from: &section)
    case "ping": break
    default: report.error(line: module.line, key: module.path, "there is no such module")
    }
}

/// Options of every kind, read from YAML.
struct Sample {
    let report = ConfigReport(file: "sample.yml")
    var section: ConfigSection

    init(_ text: String) {
        section = report.section(YAMLReader.read(text, into: report))
    }

    /// What is wrong once everything was read.
    var errors: [String] {
        do {
            try report.finish()
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }
}
