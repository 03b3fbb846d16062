public import XMPPCore

/// A client's wish for a resource (RFC 6120 §7).
public struct BindRequest: Hashable, Sendable {
    public var id: String
    /// Canonical; nil: the server makes one.
    public var resource: String?

    public init(id: String, resource: String?) {
        self.id = id
        self.resource = resource
    }
}

/// The messages of resource binding.
public enum Bind {
    /// What an element means to a stream that is not bound.
    public enum Reading: Hashable, Sendable {
        case request(BindRequest)
        /// A bind request that cannot be served; the answer to it.
        case refused(Element)
        /// Something else.
        case other
    }

    public static func read(_ iq: ElementView) -> Reading {
        guard iq.isNamed("iq", .client), let bind = iq.first("bind", .bind) else { return .other }
        let isAnswer = iq.attribute("type", is: "result") || iq.attribute("type", is: "error")
        guard !isAnswer else { return .other }
        var children = iq.children
        let isAlone = children.next() != nil && children.next() == nil
        guard let id = iq.attribute("id"), !id.isEmpty, iq.attribute("type", is: "set"), isAlone else {
            return .refused(refusal(id: iq.attribute("id") ?? "", .badRequest))
        }
        guard let wanted = bind.first("resource", .bind)?.text, !wanted.isEmpty else {
            return .request(BindRequest(id: id, resource: nil))
        }
        // RFC 6120 §7.7.2.1: a resource that breaks the rules is a bad request.
        guard let resource = JID.prepared(resource: wanted) else { return .refused(refusal(id: id, .badRequest)) }
        return .request(BindRequest(id: id, resource: resource))
    }

    /// A resource that nobody guesses: 80 random bits.
    public static func makeResource(_ random: RandomSource = .system) -> String {
        let alphabet = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)
        return String(decoding: random.bytes(16).map { alphabet[Int($0 & 31)] }, as: UTF8.self)
    }

    /// The `<iq type='result'/>` that tells a client its address.
    public static func result(id: String, _ address: JID) -> Element {
        var iq = Element("iq", .client)
        iq[attribute: "type"] = "result"
        iq[attribute: "id"] = id
        var bind = Element("bind", .bind)
        var jid = Element("jid", .bind)
        jid.appendText(address.description)
        bind.append(jid)
        iq.append(bind)
        return iq
    }

    /// The same result with further elements beside the address.
    public static func result(_ answer: Element, adding elements: [Element]) -> Element {
        guard !elements.isEmpty, var bind = answer.first("bind", .bind) else { return answer }
        for element in elements { bind.append(element) }
        var iq = Element(answer.name, .client)
        iq.attributes = answer.attributes
        iq.append(bind)
        return iq
    }

    static func refusal(id: String, _ error: StanzaError) -> Element {
        var iq = Element("iq", .client)
        iq[attribute: "type"] = "error"
        iq[attribute: "id"] = id
        iq.append(error.element)
        return iq
    }

    static var feature: StreamFeature {
        StreamFeature(Element("bind", .bind), requires: .authenticated)
    }
}
