import Archive
import Blocking
import Carbons
import ClientState
import Disco
import Last
import Messages
import ModuleKit
import Offline
import Ping
import Presence
import Privacy
import Private
import Register
import Reports
import Roster
import Time
import VCard
import Version
import XMPPServer

/// The modules that this binary can run: the one place that names them.
enum StandardModules {
    static let all: [any Module.Type] = [
        RosterModule.self, PresenceModule.self, MessagesModule.self, ArchiveModule.self, OfflineModule.self,
        BlockingModule.self, PrivacyModule.self, ReportsModule.self, DiscoModule.self, PingModule.self,
        VersionModule.self, TimeModule.self, LastModule.self, PrivateModule.self, VCardModule.self,
        RegisterModule.self, CarbonsModule.self, ClientStateModule.self,
    ]

    /// Reads a module's section as the module itself will, so that `check` and `serve` find its errors before anything
    /// starts.
    static func check(_ module: ModuleConfig, _ report: ConfigReport) {
        check(module, report, among: all)
    }

    /// Looks whether the modules of a host have all they need of one another.
    static func checkNeeds(_ host: HostConfig, _ report: ConfigReport) {
        let infos = all.map { $0.info }
        let enabled = infos.filter { info in host.modules.contains { $0.name == info.name } }
        for lack in ModuleInfo.lacks(of: enabled, among: infos) {
            guard let module = host.modules.first(where: { $0.name == lack.module }) else { continue }
            report.note(lack, line: module.line, key: module.path)
        }
    }

    static func check(_ module: ModuleConfig, _ report: ConfigReport, among types: [any Module.Type]) {
        guard let type = types.first(where: { $0.info.name == module.name }) else {
            let near = types.map { $0.info.name }.nearest(to: module.name).map { ", did you mean \"\($0)\"?" } ?? ""
            report.error(line: module.line, key: module.path, "there is no such module\(near)")
            return
        }
        var section = report.section(module.node, path: module.path)
        check(type, &section)
    }

    /// Also how the reference is made, from a describing section.
    static func check<Checked: Module>(_ type: Checked.Type, _ section: inout ConfigSection) {
        _ = Checked.Options(from: &section)
    }
}
