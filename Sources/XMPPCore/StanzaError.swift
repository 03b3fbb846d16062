/// Why a stanza was not served (RFC 6120 §8.3): thrown by whoever handles it, sent back as an answer of type `error`.
public struct StanzaError: Error, Hashable, Sendable {
    public var condition: Condition
    /// What the sender can do about it; set by the condition unless stated.
    public var type: Kind
    /// For people, in English.
    public var text: String?
    /// Who refused, if that is not the address that the answer comes from.
    public var by: JID?
    /// The other address of `gone` and `redirect`, as a URI.
    public var address: String?
    /// Conditions of an extension, beside the one of RFC 6120.
    public var details: [Element]

    public init(
        _ condition: Condition, type: Kind? = nil, text: String? = nil, by: JID? = nil, address: String? = nil,
        details: [Element] = []
    ) {
        self.condition = condition
        self.type = type ?? condition.defaultType
        self.text = text
        self.by = by
        self.address = address
        self.details = details
    }

    /// The same error with a sentence for people.
    public func saying(_ text: String) -> StanzaError {
        var error = self
        error.text = text
        return error
    }

    /// What the sender can do (RFC 6120 §8.3.2).
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Authenticate, or get the permission, and try again.
        case auth
        /// Nothing.
        case cancel
        /// Go on: it was a warning.
        case `continue`
        /// Change the stanza and try again.
        case modify
        /// Try again later.
        case wait
    }

    /// RFC 6120 §8.3.3.
    public enum Condition: String, Hashable, Sendable, CaseIterable {
        /// The stanza is malformed or cannot be processed.
        case badRequest = "bad-request"
        /// A resource or session of that name exists.
        case conflict = "conflict"
        /// The feature is not implemented here.
        case featureNotImplemented = "feature-not-implemented"
        /// The sender lacks the permission.
        case forbidden = "forbidden"
        /// The addressee is no longer at this address; `address` may tell the new one.
        case gone = "gone"
        /// The server failed.
        case internalServerError = "internal-server-error"
        /// There is no such address or item.
        case itemNotFound = "item-not-found"
        /// An address in the stanza breaks RFC 7622.
        case jidMalformed = "jid-malformed"
        /// The stanza does not meet what the recipient asks for.
        case notAcceptable = "not-acceptable"
        /// Nobody may do this.
        case notAllowed = "not-allowed"
        /// The sender has to authenticate first.
        case notAuthorized = "not-authorized"
        /// A local policy forbids it, such as a limit of size.
        case policyViolation = "policy-violation"
        /// The recipient is not here now.
        case recipientUnavailable = "recipient-unavailable"
        /// Ask at another address: `address`.
        case redirect = "redirect"
        /// The sender has to register first.
        case registrationRequired = "registration-required"
        /// The recipient's server does not exist.
        case remoteServerNotFound = "remote-server-not-found"
        /// The recipient's server could not be reached in time.
        case remoteServerTimeout = "remote-server-timeout"
        /// The server is too busy or a quota is full.
        case resourceConstraint = "resource-constraint"
        /// The service does not exist here.
        case serviceUnavailable = "service-unavailable"
        /// The sender has to subscribe first.
        case subscriptionRequired = "subscription-required"
        /// None of the others; `details` say what.
        case undefinedCondition = "undefined-condition"
        /// The request is out of order.
        case unexpectedRequest = "unexpected-request"

        /// The type that RFC 6120 gives the condition; where it names two, one of them.
        public var defaultType: Kind {
            switch self {
            case .forbidden, .notAuthorized, .registrationRequired, .subscriptionRequired: .auth
            case .conflict, .featureNotImplemented, .gone, .internalServerError, .itemNotFound, .notAllowed,
                .remoteServerNotFound, .serviceUnavailable, .undefinedCondition:
                .cancel
            case .badRequest, .jidMalformed, .notAcceptable, .policyViolation, .redirect: .modify
            case .recipientUnavailable, .remoteServerTimeout, .resourceConstraint, .unexpectedRequest: .wait
            }
        }
    }
}

extension StanzaError {
    /// The stanza is malformed or cannot be processed.
    public static let badRequest = StanzaError(.badRequest)
    /// A resource or session of that name exists.
    public static let conflict = StanzaError(.conflict)
    /// The feature is not implemented here.
    public static let featureNotImplemented = StanzaError(.featureNotImplemented)
    /// The sender lacks the permission.
    public static let forbidden = StanzaError(.forbidden)
    /// The addressee is no longer at this address; `address` may tell the new one.
    public static let gone = StanzaError(.gone)
    /// The server failed.
    public static let internalServerError = StanzaError(.internalServerError)
    /// There is no such address or item.
    public static let itemNotFound = StanzaError(.itemNotFound)
    /// An address in the stanza breaks RFC 7622.
    public static let jidMalformed = StanzaError(.jidMalformed)
    /// The stanza does not meet what the recipient asks for.
    public static let notAcceptable = StanzaError(.notAcceptable)
    /// Nobody may do this.
    public static let notAllowed = StanzaError(.notAllowed)
    /// The sender has to authenticate first.
    public static let notAuthorized = StanzaError(.notAuthorized)
    /// A local policy forbids it, such as a limit of size.
    public static let policyViolation = StanzaError(.policyViolation)
    /// The recipient is not here now.
    public static let recipientUnavailable = StanzaError(.recipientUnavailable)
    /// Ask at another address: `address`.
    public static let redirect = StanzaError(.redirect)
    /// The sender has to register first.
    public static let registrationRequired = StanzaError(.registrationRequired)
    /// The recipient's server does not exist.
    public static let remoteServerNotFound = StanzaError(.remoteServerNotFound)
    /// The recipient's server could not be reached in time.
    public static let remoteServerTimeout = StanzaError(.remoteServerTimeout)
    /// The server is too busy or a quota is full.
    public static let resourceConstraint = StanzaError(.resourceConstraint)
    /// The service does not exist here.
    public static let serviceUnavailable = StanzaError(.serviceUnavailable)
    /// The sender has to subscribe first.
    public static let subscriptionRequired = StanzaError(.subscriptionRequired)
    /// None of the others; `details` say what.
    public static let undefinedCondition = StanzaError(.undefinedCondition)
    /// The request is out of order.
    public static let unexpectedRequest = StanzaError(.unexpectedRequest)
}

extension StanzaError {
    /// The `<error/>` child of the answer, in the clients' namespace.
    public var element: Element {
        var error = Element("error", .client)
        error[attribute: "type"] = type.rawValue
        error[attribute: "by"] = by?.description
        var child = Element(condition.rawValue, .stanzaErrors)
        if let address { child.appendText(address) }
        error.append(child)
        if let text {
            var child = Element("text", .stanzaErrors)
            child.language = "en"
            child.appendText(text)
            error.append(child)
        }
        for detail in details { error.append(detail) }
        return error
    }

    /// Reads an `<error/>`; what is unknown or missing becomes `undefined-condition` and `cancel`.
    public init(reading view: ElementView) {
        self.init(.undefinedCondition)
        for child in view.children {
            if child.namespace == .stanzaErrors {
                if child.name == "text" {
                    text = child.text
                } else if let known = Condition(rawValue: child.name) {
                    condition = known
                    let content = child.text
                    address = content.isEmpty ? nil : content
                }
            } else {
                details.append(child.element)
            }
        }
        type = view.attribute("type").flatMap(Kind.init(rawValue:)) ?? condition.defaultType
        by = view.attribute("by").flatMap { JID($0) }
    }
}
