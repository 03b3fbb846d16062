import ModuleKit
import XMPPServer

extension ConfigFile {
    /// What the server and `check` look at: certificates and keys, and who may read them.
    static func lookAround(_ config: ServerConfig, _ report: ConfigReport) {
        CertificateCheck.check(config, into: report)
        Permissions.check(config, into: report)
    }
}
