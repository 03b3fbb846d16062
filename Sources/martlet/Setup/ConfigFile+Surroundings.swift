import ModuleKit
import XMPPServer

extension ConfigFile {
    /// The checks that the server and `check` share: certificates and keys, and their permissions.
    static func lookAround(_ config: ServerConfig, _ report: ConfigReport) {
        CertificateCheck.check(config, into: report)
        Permissions.check(config, into: report)
    }
}
