internal import ModuleKit

/// XEP-0013: a client counts the messages that wait, lists them, and fetches and removes those that it chooses. Having
/// asked, it does not get all of them when it becomes available.
enum Retrieval {
    /// Most messages named in one request.
    private static let most = 1000
    /// Bytes of a list of headers. A longer one ends early: removing what was read makes room for the rest.
    private static let longestList = 256 << 10

    static func install(on host: inout HostBuilder) {
        host.feature(.offline)
        host.discoNode(Namespace.offline.uri, at: .account) { query in
            do throws(StanzaError) {
                let (mailbox, session) = try open(query.request)
                mailbox.browse(by: session)
                switch query.subject {
                case .info: count(mailbox, query)
                case .items: list(mailbox, query)
                }
            } catch {
                query.answer(.failure(error))
            }
        }
        // Later stanzas may overtake: among them are the acknowledgements that a long answer waits for.
        host.iqForAnybody(.get, .offline, "offline", answering: .independent) {
            request, responder throws(StanzaError) in
            try fetch(request, responder)
        }
        host.iqForAnybody(.set, .offline, "offline") { request, responder throws(StanzaError) in
            try remove(request, responder)
        }
        // What only the server says (which message this is) no message says by itself.
        host.arriving.add(.rewrite, on: .message.with(.offline)) { event in
            event.envelope = stripped(event.envelope)
            return .next
        }
    }

    /// XEP-0013 §2.3: only for the account's own sessions. Others hear `forbidden`, whether there is the account or not.
    private static func open(_ request: IQRequest) throws(StanzaError) -> (any Mailbox, any Session) {
        guard let account = request.account, request.stanza.from?.bare == account.address else { throw .forbidden }
        guard let session = request.session, let mailbox = account.mailbox else { throw .serviceUnavailable }
        return (mailbox, session)
    }

    // MARK: Counting and listing

    /// XEP-0013 §2.2.
    private static func count(_ mailbox: any Mailbox, _ query: DiscoQuery) {
        mailbox.count { result in
            query.answer(
                result.map { count in
                    var info = DiscoInfo()
                    info.identities = [.init(category: "automation", type: "message-list")]
                    info.features = [.offline]
                    let field = DataForm.Field("number_of_messages", values: [String(count)])
                    info.forms = [DataForm(.result, type: Namespace.offline.uri, fields: [field])]
                    return info
                })
        }
    }

    /// XEP-0013 §2.3.
    private static func list(_ mailbox: any Mailbox, _ query: DiscoQuery) {
        var info = DiscoInfo()
        var room = longestList
        let address = query.request.account?.address.description ?? ""
        mailbox.forEach { message in
            let sender = message.stanza.from?.description
            info.items.append(.init(address: address, node: node(message.id), name: sender))
            room -= 128 + address.utf8.count + (sender?.utf8.count ?? 0)
            return room > 0
        } then: { result in
            query.answer(result.map { info })
        }
    }

    /// As long for each, so that the order of the texts is the order of the messages.
    private static func node(_ id: Int64) -> String {
        let digits = String(id)
        return String(repeating: "0", count: max(0, 19 - digits.utf8.count)) + digits
    }

    // MARK: Fetching and removing

    private enum Wish: Equatable {
        case all
        case these([Int64])

        /// Nil: all.
        var ids: [Int64]? {
            if case .these(let ids) = self { ids } else { nil }
        }
    }

    /// What is asked for: one element for all, or items that say what is to be done with them.
    private static func wish(
        _ request: IQRequest, all: StaticString, action: StaticString
    ) throws(StanzaError) -> Wish {
        let children = request.payload.children.map { $0 }
        guard let first = children.first else { throw .badRequest }
        if first.isNamed(all, .offline) {
            guard children.count == 1 else { throw .badRequest }
            return .all
        }
        guard children.count <= most else { throw .policyViolation.saying("too many messages at once") }
        var ids: [Int64] = []
        for item in children {
            guard item.isNamed("item", .offline), item.attribute("action", is: action),
                let node = item.attribute("node")
            else { throw .badRequest }
            // Only as the server wrote it: one message has one name.
            guard let id = Int64(node), id > 0, Self.node(id) == node else { throw .itemNotFound }
            if !ids.contains(id) { ids.append(id) }
        }
        return .these(ids)
    }

    /// XEP-0013 §2.4 and §2.6.
    private static func fetch(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let (mailbox, session) = try open(request)
        let wish = try wish(request, all: "fetch", action: "view")
        mailbox.browse(by: session)
        mailbox.send(wish.ids, to: session, dress: dressed) { responder.answer($0.map { nil }) }
    }

    /// XEP-0013 §2.5 and §2.7.
    private static func remove(_ request: IQRequest, _ responder: IQResponder) throws(StanzaError) {
        let (mailbox, session) = try open(request)
        let wish = try wish(request, all: "purge", action: "remove")
        mailbox.browse(by: session)
        mailbox.remove(wish.ids) { responder.answer($0.map { nil }) }
    }

    /// With its name, so that the client knows which one came.
    private static func dressed(_ message: WaitingMessage) -> Stanza {
        var offline = Element("offline", .offline)
        offline.append(Element("item", .offline, ["node": node(message.id)]))
        return message.stanza.appending(offline)
    }

    private static func stripped(_ envelope: Envelope) -> Envelope {
        let stanza = envelope.stanza
        guard stanza.root.first("offline", .offline) != nil else { return envelope }
        var element = stanza.element
        element.removeElements { $0.isNamed("offline", .offline) }
        return Envelope(Stanza(element).with(from: stanza.from, to: stanza.to), receipt: envelope.receipt)
    }
}

extension Namespace {
    /// XEP-0013.
    static let offline = Namespace("http://jabber.org/protocol/offline")
}
