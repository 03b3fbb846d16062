import ModuleKit
import Testing
import XMPPServer

@testable import martlet

@Suite struct `The reference` {
    @Test func `has every option with its default and a meaning`() {
        let options = OptionReference.server()
        #expect(options.count > 30)
        #expect(Set(options.map(\.path)).count == options.count)
        for option in options {
            #expect(!option.documentation.isEmpty, "\(option.path)")
            #expect(option.documentation.last == ".", "\(option.path)")
            let needsDefault = !option.kind.contains("section") && !option.kind.contains("list") && !option.isRequired
            if needsDefault, !["loops", "tls.client_authorities"].contains(option.path) {
                #expect(option.defaultValue != nil, "\(option.path)")
            }
        }
    }

    @Test func `has the options of every module`() {
        let text = OptionReference.markdown()
        for module in StandardModules.all {
            #expect(text.contains("## modules.\(module.info.name)\n"))
            for option in OptionReference.module(module) {
                #expect(text.contains("| `\(option.path)` |"))
                #expect(option.documentation.last == ".", "\(option.path)")
            }
        }
    }

    @Test func `lists the specifications of the kernel and the modules`() {
        let text = SpecificationTable.markdown()
        let all = SpecificationTable.kernel + StandardModules.all.flatMap { $0.info.specifications }
        for specification in all { #expect(text.contains("[\(specification.name)](https://")) }
    }

    @Test func `knows the modules by name and refuses others`() {
        let report = ConfigReport(file: "m.yml")
        for module in StandardModules.all { StandardModules.check(ModuleConfig(name: module.info.name), report) }
        #expect(report.errors == [])
        StandardModules.check(ModuleConfig(name: "pnig", line: 3), report)
        #expect(
            report.errors.map(\.description) == [
                "m.yml:3: modules.pnig: there is no such module, did you mean \"ping\"?"
            ])
    }
}
