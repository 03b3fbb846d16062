import Foundation
import ModuleKit
import XMPPServer

/// An annotated `martlet.yml`: what has to be said is said, every other option stands there as a comment with its
/// meaning, its default and its range.
enum ConfigExample {
    struct Values {
        var domain: String
        var port: Int
        var tlsPort: Int
        var address: String
    }

    /// conf/martlet.yml.
    static let shipped = Values(domain: "example.org", port: 5222, tlsPort: 5223, address: "*")

    static func render(_ values: Values, modules: [any Module.Type] = StandardModules.all) -> String {
        let address = values.address == "*" ? "" : ", address: \(quoted(values.address))"
        let given: [String: [String]] = [
            "hosts": ["hosts: [\(quoted(values.domain))]"],
            "tls.certificate": ["certificate: cert.pem"],
            "tls.key": ["key: key.pem"],
            "listen": [
                "listen:",
                "  - {port: \(values.port)\(address), tls: required}",
                "  - {port: \(values.tlsPort)\(address), tls: direct}",
            ],
            "modules": ["modules:"] + modules.filter { $0.info.isUsual }.map { "  \($0.info.name):" },
            "host_config": [
                "# host_config:", "#   second.example.org:", "#     tls: {certificate: …, key: …}",
                "#     modules: {offline: false}",
            ],
        ]
        var lines = [
            "# Config of martlet. `martlet check` tells what is wrong with it, docs/CONFIG.md explains every option.",
            "# A line without # in front says something that is not the default.",
        ]
        for option in OptionReference.server() {
            let depth = option.path.count { $0 == "." }
            let indent = String(repeating: "  ", count: depth)
            if option.path.hasPrefix("listen[]") || option.path.hasPrefix("modules.") { continue }
            if depth == 0 { lines.append("") }
            lines += comment(about: option, indent)
            if option.path == "listen" { lines += itemComments(OptionReference.server(), "listen[].") }
            if option.path == "modules" {
                lines += ["modules:"] + modules.flatMap { module($0) }
                continue
            }
            if let given = given[option.path] {
                lines += given.map { indent + $0 }
            } else {
                lines.append(indent + line(of: option, option.path.split(separator: ".").last ?? ""))
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// An unusual module stands there as a comment.
    private static func module(_ type: any Module.Type) -> [String] {
        guard type.info.isUsual else {
            return ["  # Not everybody wants this one; docs/CONFIG.md has its options.", "  # \(type.info.name):"]
        }
        var lines = ["  \(type.info.name):"]
        for option in OptionReference.module(type) {
            let path = option.path.split(separator: ".").dropFirst(2)
            let indent = String(repeating: "  ", count: path.count + 1)
            lines += comment(about: option, indent)
            lines.append(indent + line(of: option, path.last ?? ""))
        }
        return lines
    }

    /// A section may be empty; anything else is commented out.
    private static func line(of option: OptionDescription, _ key: Substring) -> String {
        option.kind == "section" ? "\(key):" : "# \(key): \(option.defaultValue ?? "…")"
    }

    private static func itemComments(_ options: [OptionDescription], _ prefix: String) -> [String] {
        options.filter { $0.path.hasPrefix(prefix) }.flatMap { option -> [String] in
            var option = option
            option.documentation = "\(option.path.dropFirst(prefix.count)): \(option.documentation)"
            return comment(about: option, "")
        }
    }

    /// Meaning, then what may stand there, wrapped.
    private static func comment(about option: OptionDescription, _ indent: String) -> [String] {
        var text = option.documentation
        var facts: [String] = []
        if let range = option.range { facts.append(range) }
        if option.kind.contains(" | ") { facts.append(option.kind) }
        if !facts.isEmpty { text += " (\(facts.joined(separator: "; ")))" }
        var lines: [String] = []
        var line = "\(indent)#"
        for word in text.split(separator: " ") {
            if line.count + 1 + word.count > 100, line.count > indent.count + 1 {
                lines.append(line)
                line = "\(indent)#"
            }
            line += " \(word)"
        }
        return lines + [line]
    }

    /// As YAML writes a text that might mean something else.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.unicodeScalars.allSatisfy {
            $0.properties.isAlphabetic || "0123456789.-".unicodeScalars.contains($0)
        }
        return isPlain && text.first?.isLetter == true ? text : "\"\(text)\""
    }
}
