import Disco
import Messages
import ModuleKit
import ModuleTesting
import Offline
import Ping
import Presence
import Roster

/// As the binary has them.
let standardModules: [any Module.Type] = [
    RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, DiscoModule.self, PingModule.self,
]

func scalar(_ text: String) -> ConfigNode { ConfigNode(.scalar(text, quoted: false)) }

func options(_ pairs: KeyValuePairs<String, String>) -> ConfigNode {
    ConfigNode(.map(pairs.map { ConfigEntry($0, scalar($1)) }))
}

func message(to address: String, _ body: String, type: String = "chat", id: String = "m") -> String {
    "<message to='\(address)' type='\(type)' id='\(id)'><body>\(body)</body></message>"
}

extension TestServer {
    /// Two accounts that see each other's presence.
    func befriend(_ left: TestClient, _ right: TestClient) {
        left.send("<presence to='\(right.account)' type='subscribe'/>")
        settle()
        right.send(
            "<presence to='\(left.account)' type='subscribed'/><presence to='\(left.account)' type='subscribe'/>")
        settle()
        left.send("<presence to='\(right.account)' type='subscribed'/>")
        settle()
        left.inbox = []
        right.inbox = []
    }
}
