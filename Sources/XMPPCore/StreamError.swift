/// Why a stream ends (RFC 6120 §4.9): sent before its end, never answered.
public struct StreamError: Error, Hashable, Sendable {
    public var condition: Condition
    /// For people, in English.
    public var text: String?
    /// The other host of `see-other-host`.
    public var address: String?
    /// Conditions of an extension, beside the one of RFC 6120.
    public var details: [Element]

    public init(_ condition: Condition, text: String? = nil, address: String? = nil, details: [Element] = []) {
        self.condition = condition
        self.text = text
        self.address = address
        self.details = details
    }

    /// The same error with a sentence for people.
    public func saying(_ text: String) -> StreamError {
        var error = self
        error.text = text
        return error
    }

    /// RFC 6120 §4.9.3.
    public enum Condition: String, Hashable, Sendable, CaseIterable {
        /// What arrived cannot be processed.
        case badFormat = "bad-format"
        /// A prefix is missing or not the expected one.
        case badNamespacePrefix = "bad-namespace-prefix"
        /// Another stream took this one's place.
        case conflict = "conflict"
        /// The other end has been silent for too long.
        case connectionTimeout = "connection-timeout"
        /// The host is no longer served here.
        case hostGone = "host-gone"
        /// The host is not served here.
        case hostUnknown = "host-unknown"
        /// An address is missing where one is needed.
        case improperAddressing = "improper-addressing"
        /// The server failed.
        case internalServerError = "internal-server-error"
        /// The `from` is not an address that this stream speaks for.
        case invalidFrom = "invalid-from"
        /// The namespace of the stream or its content is not the expected one.
        case invalidNamespace = "invalid-namespace"
        /// XML that breaks its schema.
        case invalidXML = "invalid-xml"
        /// Something that needs authentication came before it.
        case notAuthorized = "not-authorized"
        /// Not XML, or not with namespaces.
        case notWellFormed = "not-well-formed"
        /// A local policy was broken, such as a limit.
        case policyViolation = "policy-violation"
        /// A server that is needed could not be reached.
        case remoteConnectionFailed = "remote-connection-failed"
        /// The stream has to be opened again, for new features or keys.
        case reset = "reset"
        /// The server is too busy.
        case resourceConstraint = "resource-constraint"
        /// Comments, processing instructions, DTDs or entities.
        case restrictedXML = "restricted-xml"
        /// Connect to another host: `address`.
        case seeOtherHost = "see-other-host"
        /// The server is stopping.
        case systemShutdown = "system-shutdown"
        /// None of the others; `details` say what.
        case undefinedCondition = "undefined-condition"
        /// Not UTF-8.
        case unsupportedEncoding = "unsupported-encoding"
        /// A feature is mandatory that the other end does not offer.
        case unsupportedFeature = "unsupported-feature"
        /// An element below the stream that nobody knows.
        case unsupportedStanzaType = "unsupported-stanza-type"
        /// A version of XMPP below 1.0.
        case unsupportedVersion = "unsupported-version"
    }
}

extension StreamError {
    /// What arrived cannot be processed.
    public static let badFormat = StreamError(.badFormat)
    /// A prefix is missing or not the expected one.
    public static let badNamespacePrefix = StreamError(.badNamespacePrefix)
    /// Another stream took this one's place.
    public static let conflict = StreamError(.conflict)
    /// The other end has been silent for too long.
    public static let connectionTimeout = StreamError(.connectionTimeout)
    /// The host is no longer served here.
    public static let hostGone = StreamError(.hostGone)
    /// The host is not served here.
    public static let hostUnknown = StreamError(.hostUnknown)
    /// An address is missing where one is needed.
    public static let improperAddressing = StreamError(.improperAddressing)
    /// The server failed.
    public static let internalServerError = StreamError(.internalServerError)
    /// The `from` is not an address that this stream speaks for.
    public static let invalidFrom = StreamError(.invalidFrom)
    /// The namespace of the stream or its content is not the expected one.
    public static let invalidNamespace = StreamError(.invalidNamespace)
    /// XML that breaks its schema.
    public static let invalidXML = StreamError(.invalidXML)
    /// Something that needs authentication came before it.
    public static let notAuthorized = StreamError(.notAuthorized)
    /// Not XML, or not with namespaces.
    public static let notWellFormed = StreamError(.notWellFormed)
    /// A local policy was broken, such as a limit.
    public static let policyViolation = StreamError(.policyViolation)
    /// A server that is needed could not be reached.
    public static let remoteConnectionFailed = StreamError(.remoteConnectionFailed)
    /// The stream has to be opened again, for new features or keys.
    public static let reset = StreamError(.reset)
    /// The server is too busy.
    public static let resourceConstraint = StreamError(.resourceConstraint)
    /// Comments, processing instructions, DTDs or entities.
    public static let restrictedXML = StreamError(.restrictedXML)
    /// Connect to another host: `address`.
    public static let seeOtherHost = StreamError(.seeOtherHost)
    /// The server is stopping.
    public static let systemShutdown = StreamError(.systemShutdown)
    /// None of the others; `details` say what.
    public static let undefinedCondition = StreamError(.undefinedCondition)
    /// Not UTF-8.
    public static let unsupportedEncoding = StreamError(.unsupportedEncoding)
    /// A feature is mandatory that the other end does not offer.
    public static let unsupportedFeature = StreamError(.unsupportedFeature)
    /// An element below the stream that nobody knows.
    public static let unsupportedStanzaType = StreamError(.unsupportedStanzaType)
    /// A version of XMPP below 1.0.
    public static let unsupportedVersion = StreamError(.unsupportedVersion)
}

extension StreamError {
    /// What the other end hears that has sent an element which nobody knows at this place: its content namespace is
    /// not spoken here (RFC 6120 §4.8.3), or it is no stanza (§4.8.4).
    public static func unsupported(_ element: ElementView) -> StreamError {
        element.namespace == .server || element.namespace == .component ? .invalidNamespace : .unsupportedStanzaType
    }

    /// The `<stream:error/>`.
    public var element: Element {
        var error = Element("error", .streams)
        var child = Element(condition.rawValue, .streamErrors)
        if let address { child.appendText(address) }
        error.append(child)
        if let text {
            var child = Element("text", .streamErrors)
            child.language = "en"
            child.appendText(text)
            error.append(child)
        }
        for detail in details { error.append(detail) }
        return error
    }

    /// Reads a `<stream:error/>`; what is unknown or missing becomes `undefined-condition`.
    public init(reading view: ElementView) {
        self.init(.undefinedCondition)
        for child in view.children {
            if child.namespace == .streamErrors {
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
    }
}
