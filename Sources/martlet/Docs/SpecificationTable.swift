import ModuleKit

/// Which specifications this build implements: the kernel's, and what each module says of itself.
enum SpecificationTable {
    /// What is in no module.
    static let kernel: [Specification] = [
        .rfc(6120, missing: "server-to-server streams"),
        .rfc(7590),
        .rfc(7622),
        .rfc(5802),
        .rfc(7677),
        .rfc(9266),
        .rfc(4505),
        .xep(4, version: "2.13.2"),
        .xep(82, version: "1.1.1"),
        .xep(175, version: "1.2"),
        .xep(178, version: "1.2", missing: "server-to-server"),
        .xep(198, version: "1.6.3"),
        .xep(368, version: "1.1.0", missing: "server-to-server"),
        .xep(440, version: "1.0.0"),
        .xep(474, version: "0.5.0"),
        .xep(478, version: "0.2.0", missing: "server-to-server"),
    ]

    /// docs/XEPS.md.
    static func markdown(modules: [any Module.Type] = StandardModules.all) -> String {
        var rows: [(specification: Specification, part: String)] = kernel.map { ($0, "kernel") }
        for module in modules { rows += module.info.specifications.map { ($0, module.info.name) } }
        rows.sort { ($0.specification.order, $0.part) < ($1.specification.order, $1.part) }
        var text = """
            # What is implemented

            Made by `make docs` from what the kernel and the modules declare; changes here are lost. What is not listed is \
            neither advertised nor answered.

            | specification | version | where | left out |
            |---|---|---|---|

            """
        for row in rows {
            let specification = row.specification
            let version = specification.version.isEmpty ? "–" : specification.version
            let missing = specification.missing.isEmpty ? "–" : specification.missing
            text += "| [\(specification.name)](\(specification.address)) | \(version) | \(row.part) | \(missing) |\n"
        }
        return text
    }
}

extension Specification {
    fileprivate var number: String { String(name.drop { !$0.isNumber }) }
    fileprivate var isXEP: Bool { name.hasPrefix("XEP") }

    /// RFCs first, then by number.
    fileprivate var order: String { (isXEP ? "1" : "0") + number }

    fileprivate var address: String {
        isXEP ? "https://xmpp.org/extensions/xep-\(number).html" : "https://www.rfc-editor.org/rfc/rfc\(number)"
    }
}
