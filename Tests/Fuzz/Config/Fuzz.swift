import FuzzSupport
import ModuleKit
import XMPPServer

@testable import ConfigReading

/// Texts of a config file. How long one may take is libFuzzer's `-timeout`.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard let text = String(validating: Input.bytes(start, count), as: UTF8.self) else { return 0 }
    // To YAML the end of a last line without a line break is on a line of its own.
    let lines = text.unicodeScalars.count { $0.properties.isWhitespace && !" \t".unicodeScalars.contains($0) } + 2
    do throws(ConfigErrors) {
        let file = try ConfigFile.parse(text, file: "/etc/martlet/martlet.yml")
        check(!file.config.hosts.isEmpty && !file.config.listeners.isEmpty, "a server has hosts and ports")
        check(file.config.data.hasPrefix("/"), "paths are absolute")
        check(file.warnings.allSatisfy { (0...lines).contains($0.line) }, "warnings name a line")
        let again = try ConfigFile.parse(text, file: "/etc/martlet/martlet.yml")
        check(again.config == file.config, "a config reads the same again")
    } catch {
        check(!error.problems.isEmpty, "a refusal has a reason")
        for problem in error.problems {
            check((0...lines).contains(problem.line), "\(problem) names a line of \(lines)")
            check(!problem.description.isEmpty, "a reason is a text")
        }
    }
    return 0
}
