public import ModuleKit

/// RFC 6121 §8: which session of an account a message goes to.
public struct MessagesModule: Module {
    public static let info = ModuleInfo(
        "messages", [.rfc(6121)], wants: [(any PresenceService).self], provides: [(any MessageService).self])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        let rules = DeliveryRules()
        host.arriving.add(.resolve, on: .message.of(.chat, .normal, .groupchat)) { event in
            let (stanza, account) = (event.envelope.stanza, event.account)
            if DeliveryRules.isForNobody(stanza, account) { return .reject(.serviceUnavailable) }
            guard account.isSpoolFull, stanza.classification.storage == .keep,
                case .away = rules.destination(of: stanza, for: account)
            else { return .next }
            account.awaitRoom(event.envelope)
            return .handled
        }
        host.provide((any MessageService).self, rules)
        host.arriving.add(.deliver, on: .message) { event in
            let account = event.account
            switch rules.destination(of: event.envelope.stanza, for: account) {
            case .session(let session): session.send(event.envelope)
            case .sessions(let sessions): account.deliver(event.envelope, to: sessions)
            case .away: account.undeliverable(event.envelope)
            case .nowhere: break
            }
            return .handled
        }
    }
}
