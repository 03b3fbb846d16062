public import XMPPCore

/// Why an authentication failed (RFC 6120 §6.5). The stream goes on; the client may try again.
public struct SASLFailure: Error, Hashable, Sendable {
    public var condition: Condition
    /// For people, in English.
    public var text: String?

    public init(_ condition: Condition, text: String? = nil) {
        self.condition = condition
        self.text = text
    }

    public enum Condition: String, Hashable, Sendable, CaseIterable {
        /// The client gave up.
        case aborted
        /// The account exists and may not log in.
        case accountDisabled = "account-disabled"
        case credentialsExpired = "credentials-expired"
        /// The mechanism needs TLS first.
        case encryptionRequired = "encryption-required"
        /// Not Base64.
        case incorrectEncoding = "incorrect-encoding"
        /// The client may not act as that account.
        case invalidAuthzid = "invalid-authzid"
        /// The mechanism is not offered.
        case invalidMechanism = "invalid-mechanism"
        /// The message breaks the mechanism's rules.
        case malformedRequest = "malformed-request"
        case mechanismTooWeak = "mechanism-too-weak"
        /// Wrong password, or no such account: nobody learns which.
        case notAuthorized = "not-authorized"
        /// The server cannot check now.
        case temporaryAuthFailure = "temporary-auth-failure"
    }

    public static let aborted = SASLFailure(.aborted)
    public static let accountDisabled = SASLFailure(.accountDisabled)
    public static let encryptionRequired = SASLFailure(.encryptionRequired)
    public static let incorrectEncoding = SASLFailure(.incorrectEncoding)
    public static let invalidAuthzid = SASLFailure(.invalidAuthzid)
    public static let invalidMechanism = SASLFailure(.invalidMechanism)
    public static let malformedRequest = SASLFailure(.malformedRequest)
    public static let notAuthorized = SASLFailure(.notAuthorized)
    public static let temporary = SASLFailure(.temporaryAuthFailure)

    /// The `<failure/>`.
    public var element: Element {
        var failure = Element("failure", .sasl)
        failure.append(Element(condition.rawValue, .sasl))
        if let text {
            var child = Element("text", .sasl)
            child.language = "en"
            child.appendText(text)
            failure.append(child)
        }
        return failure
    }
}
