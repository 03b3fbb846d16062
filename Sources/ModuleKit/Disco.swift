public import XMPPCore

/// What an entity says of itself (XEP-0030 §3), collected from what modules registered.
public struct DiscoInfo: Hashable, Sendable {
    public struct Identity: Hashable, Sendable {
        public var category: String
        public var type: String
        public var name: String?

        public init(category: String, type: String, name: String? = nil) {
            self.category = category
            self.type = type
            self.name = name
        }
    }

    public struct Item: Hashable, Sendable {
        public var address: String
        /// What is not addressed by an address alone.
        public var node: String?
        public var name: String?

        public init(address: String, node: String? = nil, name: String? = nil) {
            self.address = address
            self.node = node
            self.name = name
        }
    }

    public var identities: [Identity] = []
    public var features: Set<Namespace> = []
    /// Further facts, each form with a `FORM_TYPE` of its own (XEP-0128).
    public var forms: [DataForm] = []
    public var items: [Item] = []

    public init() {}
}

/// A node that a module answers for (XEP-0030 §3.2, §4.2).
public struct DiscoNode {
    public let module: String
    public let name: String
    public let target: Target
    /// Answers by `query.answer`, now or later. Who may ask is the handler's to know: at an account everybody comes here,
    /// also where there is no such account.
    public let handler: (DiscoQuery) -> Void

    init(module: String, name: String, target: Target, handler: @escaping (DiscoQuery) -> Void) {
        self.module = module
        self.name = name
        self.target = target
        self.handler = handler
    }
}

/// What somebody wants to know of a node.
public struct DiscoQuery {
    public enum Subject: Hashable, Sendable {
        /// Identities, features and forms.
        case info
        case items
    }

    public let subject: Subject
    public let request: IQRequest
    private let responder: IQResponder

    public init(_ subject: Subject, of request: IQRequest, _ responder: IQResponder) {
        self.subject = subject
        self.request = request
        self.responder = responder
    }

    /// The node that is asked about; nil: the entity itself. A name of no letters names nothing.
    public var node: String? {
        guard let node = request.payload.attribute("node"), !node.isEmpty else { return nil }
        return node
    }

    /// Answers with what was asked for, once, from any thread. Dropped without an answer the query answers
    /// `internal-server-error`.
    public func answer(_ result: Result<DiscoInfo, StanzaError>) {
        let (subject, node) = (subject, request.payload.attribute("node"))
        responder.answer(result.map { $0.element(subject, node: node) })
    }
}

extension DiscoInfo {
    /// The `<query/>` that says it. The node of the question is repeated (XEP-0030 §3.2).
    public func element(_ subject: DiscoQuery.Subject, node: String? = nil) -> Element {
        let namespace: Namespace = subject == .info ? .discoInfo : .discoItems
        var query = Element("query", namespace)
        query[attribute: "node"] = node
        switch subject {
        case .info:
            for identity in identities {
                let name = identity.name
                query.append(
                    Element(
                        "identity", namespace, ["category": identity.category, "type": identity.type, "name": name]))
            }
            for feature in features.map(\.uri).sorted() {
                query.append(Element("feature", namespace, ["var": feature]))
            }
            for form in forms { query.append(form.element) }
        case .items:
            for item in items {
                query.append(
                    Element("item", namespace, ["jid": item.address, "node": item.node, "name": item.name]))
            }
        }
        return query
    }
}
