import ModuleKit
import XMPPStream

extension ClientSession {
    /// Lets the modules answer what the client asked for together with its resource.
    func inlineAnswers(to requests: [Element]) -> [Element] {
        guard let handlers = table?.inline, !handlers.isEmpty else { return [] }
        var event = Inline(session: self, requests: requests)
        for handler in handlers { handler(&event) }
        return event.answers
    }
}

extension SASLFailure {
    /// Why a module does not let a client in.
    init(_ reason: AuthenticatedVerdict.Refusal, text: String?) {
        let condition: Condition =
            switch reason {
            case .accountDisabled: .accountDisabled
            case .credentialsExpired: .credentialsExpired
            case .notAuthorized: .notAuthorized
            case .temporary: .temporaryAuthFailure
            }
        self.init(condition, text: text)
    }
}
