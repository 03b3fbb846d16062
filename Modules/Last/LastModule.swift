public import ModuleKit

/// XEP-0012: how long an account has been away, for those who may see its presence, and how long the server runs.
///
/// What XEP-0256 puts into presence passes through like every payload; it asks nothing else of a server.
public struct LastModule: Module {
    public static let info = ModuleInfo(
        "last", [.xep(12, version: "2.0"), .xep(256, version: "1.1")], needs: [(any ContactService).self])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        guard let contacts = host.find((any ContactService).self) else { return }
        host.feature(.lastActivity, at: [.host, .domain, .account])
        host.iq(.get, .lastActivity, "query", at: [.host, .domain], from: .anyone) { request in
            LastSeen.answer(seconds: request.kernel.uptime.components.seconds)
        }
        // Anyone may ask and not everyone is told: XEP-0012 §4 wants strangers to hear `forbidden`. They hear it of
        // names that nobody has as well, so that they do not find out which ones there are.
        host.iqForAnybody(.get, .lastActivity, "query", nobody: .atEveryAddress) {
            request, responder throws(StanzaError) in
            guard let account = request.account, let from = request.stanza.from else { throw .serviceUnavailable }
            guard sees(from.bare, account, contacts) else { throw .forbidden }
            try LastSeen.read(of: account, responder)
        }
        // XEP-0012 §5: a client is not even asked by who may not see its presence.
        host.arriving.add(.admit, on: .iq.of(.get).with(.lastActivity), after: ["blocking", "privacy"]) { event in
            let stanza = event.envelope.stanza
            guard stanza.to?.isBare == false, let from = stanza.from,
                stanza.payload?.isNamed("query", .lastActivity) == true
            else { return .next }
            return sees(from.bare, event.account, contacts) ? .next : .reject(.forbidden)
        }
        // Before presence is broadcast and forgotten.
        host.received.add(.record, on: .presence.of(.available, .unavailable)) { event in
            let stanza = event.envelope.stanza
            guard stanza.to == nil else { return .next }
            if stanza.type == .unavailable {
                LastSeen.left(event.session, saying: stanza)
            } else if event.session.state[Farewell.self] != nil {
                event.session.state[Farewell.self] = nil
            }
            return .next
        }
        host.closed.add { session in LastSeen.ended(session) }
    }

    private func sees(_ asker: BareJID, _ account: any Account, _ contacts: any ContactService) -> Bool {
        account.exists && (asker == account.address || contacts.isSubscriber(asker, to: account))
    }
}
