import Blocking
import Disco
import Last
import Messages
import ModuleKit
import Offline
import Ping
import Presence
import Privacy
import Private
import Reports
import Roster
import Time
import VCard
import Version
import XMPPServer

/// The server as it is by default, without options: every usual module but `mam`. An archive is the disk's work, and the
/// store in memory copies all that it holds when a row is written while somebody reads.
enum EveryModule {
    static let types: [any Module.Type] = [
        RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, BlockingModule.self,
        PrivacyModule.self, ReportsModule.self, DiscoModule.self, PingModule.self, VersionModule.self,
        TimeModule.self, LastModule.self, PrivateModule.self, VCardModule.self,
    ]

    /// A config for one host, as the file would give it.
    static func config(host: String) throws -> ServerConfig {
        func scalar(_ text: String) -> ConfigNode { ConfigNode(.scalar(text, quoted: false)) }
        let listener = ConfigNode(.map([ConfigEntry("port", scalar("0")), ConfigEntry("tls", scalar("none"))]))
        let node = ConfigNode(
            .map([
                ConfigEntry("hosts", ConfigNode(.list([scalar(host)]))),
                ConfigEntry("listen", ConfigNode(.list([listener]))),
                ConfigEntry("modules", ConfigNode(.map(types.map { ConfigEntry($0.info.name, .empty) }))),
            ]))
        let report = ConfigReport(file: "martlet-load")
        var section = report.section(node)
        let surroundings = ServerConfig.Surroundings(directory: "/nowhere") { JID.prepared(domain: $0) }
        var config = ServerConfig(from: &section, in: surroundings)
        try report.finish()
        // All clients have one address.
        config.limits.unauthenticated.connectionsPerAddress = config.limits.unauthenticated.connections
        config.limits.authenticated.connectionsPerAddress = .max
        return config
    }
}
