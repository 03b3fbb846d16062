public import ModuleKit

/// XEP-0199: XMPP Ping. Answers pings on behalf of the host and of accounts.
public struct PingModule: Module {
    public static let info = ModuleInfo("ping", [.xep(199, version: "2.0.1")])

    public init(_ options: NoOptions, in host: HostContext) {}

    public func install(on host: inout HostBuilder) {
        host.feature(.ping, at: [.host, .account])
        host.iq(.get, .ping, "ping", at: [.host], from: .anyone) { _ in nil }
        // Whoever may not see the account's presence must not learn from a pong that it exists.
        host.iq(.get, .ping, "ping", at: [.account], from: .contacts) { _ in nil }
    }
}
