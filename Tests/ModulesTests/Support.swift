import Archive
import Blocking
import Carbons
import ClientState
import Disco
import Last
import Messages
import ModuleKit
import ModuleTesting
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

/// What most servers have, without those that change what is delivered.
let standardModules: [any Module.Type] = [
    RosterModule.self, PresenceModule.self, MessagesModule.self, OfflineModule.self, BlockingModule.self,
    PrivacyModule.self, ReportsModule.self, DiscoModule.self, PingModule.self, VersionModule.self, TimeModule.self,
    LastModule.self, PrivateModule.self, VCardModule.self, CarbonsModule.self, ClientStateModule.self,
]

/// The same with an archive.
let archivingModules: [any Module.Type] = standardModules + [ArchiveModule.self]

func scalar(_ text: String) -> ConfigNode { ConfigNode(.scalar(text, quoted: false)) }

func options(_ pairs: KeyValuePairs<String, String>) -> ConfigNode {
    ConfigNode(.map(pairs.map { ConfigEntry($0, scalar($1)) }))
}

func message(to address: String, _ body: String, type: String = "chat", id: String = "m") -> String {
    "<message to='\(address)' type='\(type)' id='\(id)'><body>\(body)</body></message>"
}

/// Sends something and waits for what comes of it.
func say(_ client: TestClient, _ xml: String, _ server: TestServer) {
    client.send(xml)
    server.settle()
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

extension TestClient {
    /// Sends one IQ and takes its answer: the payload of the result, nil if it has none.
    ///
    /// - Throws: `Refusal` with the condition of an error.
    @discardableResult
    func ask(_ server: TestServer, _ type: String, _ payload: String, to address: String? = nil) throws -> Element? {
        let to = address.map { " to='\($0)'" } ?? ""
        send("<iq type='\(type)' id='asked'\(to)>\(payload)</iq>")
        server.settle()
        guard let index = inbox.firstIndex(where: { $0.name == "iq" && $0[attribute: "id"] == "asked" }) else {
            throw Refusal("no answer")
        }
        let answer = inbox.remove(at: index)
        if let error = answer.first("error", .client) {
            throw Refusal(error.elements.first?.name ?? "no condition", type: error[attribute: "type"] ?? "")
        }
        return answer.elements.first
    }

    /// The condition of the error that an IQ is answered with; nil: it has a result.
    func refusal(_ server: TestServer, _ type: String, _ payload: String, to address: String? = nil) -> String? {
        do {
            try ask(server, type, payload, to: address)
            return nil
        } catch {
            return (error as? Refusal)?.condition ?? "\(error)"
        }
    }
}

struct Refusal: Error, Equatable {
    let condition: String
    let type: String

    init(_ condition: String, type: String = "") {
        self.condition = condition
        self.type = type
    }
}

/// A client whose connection is encrypted from the first byte.
func encrypted() -> TestClient.Options {
    var options = TestClient.Options()
    options.mechanism = .plain
    return options
}
