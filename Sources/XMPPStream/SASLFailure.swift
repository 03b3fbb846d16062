public import XMPPCore

/// Why an authentication failed (RFC 6120 §6.5). The stream goes on; the client may try again.
public struct SASLFailure: Error, Hashable, Sendable {
    public var condition: Condition
    /// For people, in English.
    public var text: String?
    /// For the log, where the condition does not say it; clients do not hear of it.
    public var cause: Cause?

    public init(_ condition: Condition, text: String? = nil, cause: Cause? = nil) {
        self.condition = condition
        self.text = text
        self.cause = cause
    }

    public enum Cause: String, Hashable, Sendable, CaseIterable {
        /// A password, or the proof of one, was compared: a guess. Also where there is no such account.
        case wrongPassword = "password"
        /// The client wants to bind a channel in a way that the server does not know (`tls-unique`).
        case unknownBinding = "unknown-channel-binding"
        /// Client and server do not see the same channel.
        case otherChannel = "other-channel"
        /// The client could bind the channel and did not see the server offer it (RFC 5802 §6, the flag `y`).
        case downgrade
        /// An answer to another challenge.
        case otherChallenge = "other-challenge"
        /// No account can have that name.
        case impossibleName = "impossible-name"
        /// The account of a certificate is not there.
        case noAccount = "no-account"
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
    /// The password was wrong.
    public static let notAuthorized = SASLFailure(.notAuthorized, cause: .wrongPassword)
    public static let temporary = SASLFailure(.temporaryAuthFailure)

    static func notAuthorized(_ cause: Cause) -> SASLFailure { SASLFailure(.notAuthorized, cause: cause) }

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
