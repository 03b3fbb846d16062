import ModuleKit
import ModuleTesting

/// What a client gets for a query of an archive.
struct ArchiveAnswer {
    struct Item: Equatable {
        let id: String
        let body: String
        let from: String
        let to: String
    }

    var items: [Item] = []
    var results: [Element] = []
    var fin: Element?
    var condition: String?

    var bodies: [String] { items.map(\.body) }
    var ids: [String] { items.map(\.id) }
    var isComplete: Bool { fin?[attribute: "complete"] == "true" }
    var first: String? { fin?.first("set", .resultSets)?.first("first", .resultSets)?.text }
    var index: String? { fin?.first("set", .resultSets)?.first("first", .resultSets)?[attribute: "index"] }
    var last: String? { fin?.first("set", .resultSets)?.first("last", .resultSets)?.text }
    var count: String? { fin?.first("set", .resultSets)?.first("count", .resultSets)?.text }
}

/// The content of a `<query/>`.
func archiveQuery(
    _ fields: KeyValuePairs<String, String> = [:], set: String? = nil, flipped: Bool = false, id: String = "q"
) -> String {
    let form = fields.map { "<field var='\($0)'><value>\($1)</value></field>" }.joined()
    return """
        <query xmlns='urn:xmpp:mam:2' queryid='\(id)'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'
        type='hidden'><value>urn:xmpp:mam:2</value></field>\(form)</x>
        \(set.map { "<set xmlns='http://jabber.org/protocol/rsm'>\($0)</set>" } ?? "")
        \(flipped ? "<flip-page/>" : "")</query>
        """
}

extension TestClient {
    /// Asks its own archive.
    func archive(
        _ server: TestServer, _ fields: KeyValuePairs<String, String> = [:], set: String? = nil, flipped: Bool = false
    ) -> ArchiveAnswer {
        query(server, archiveQuery(fields, set: set, flipped: flipped))
    }

    func query(_ server: TestServer, _ query: String) -> ArchiveAnswer {
        var answer = ArchiveAnswer()
        do {
            answer.fin = try ask(server, "set", query)
        } catch {
            answer.condition = (error as? Refusal)?.condition ?? "\(error)"
        }
        inbox.removeAll { element in
            guard let result = element.first("result", .archive) else { return false }
            answer.results.append(element)
            guard let forwarded = result.first("forwarded", .forwarded)?.first("message", .client) else { return true }
            answer.items.append(
                .init(
                    id: result[attribute: "id"] ?? "", body: forwarded.first("body", .client)?.text ?? "",
                    from: forwarded[attribute: "from"] ?? "", to: forwarded[attribute: "to"] ?? ""))
            return true
        }
        return answer
    }
}

extension Element {
    /// The ids that this archive gave the message.
    func archiveIDs(by archive: String) -> [String] {
        elements.filter { $0.isNamed("stanza-id", .stanzaID) && $0[attribute: "by"] == archive }
            .compactMap { $0[attribute: "id"] }
    }
}
