public import ModuleKit

/// XEP-0199: XMPP Ping. Answers pings on behalf of the host, its services and of accounts and, if it is told to, pings silent
/// clients.
public struct PingModule: Module {
    public static let info = ModuleInfo("ping", [.xep(199, version: "2.0.1")])

    public struct Options: ModuleOptions {
        var idle: Duration?
        var timeout: Duration

        public init(from section: inout ConfigSection) {
            idle = section.duration(
                "idle", in: .seconds(10) ... .days(1),
                "A client that has been silent for this long is pinged. Off unless set.")
            timeout = section.duration(
                "timeout", default: .seconds(30), in: .seconds(1) ... .minutes(10),
                "How long a pinged client may stay silent before its connection is closed.")
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.ping, at: [.host, .domain, .account])
        host.iq(.get, .ping, "ping", at: [.host, .domain], from: .anyone) { _ in nil }
        // Whoever may not see the account's presence must not learn from a pong that it exists.
        host.iq(.get, .ping, "ping", at: [.account], from: .contacts) { _ in nil }
        guard let idle = options.idle else { return }
        let lost = host.counter("lost", "Clients whose connection was closed because they did not answer a ping.")
        host.idle(after: idle) { session in probe(session, lost) }
    }

    /// Any answer, even an error, proves that the client is alive (XEP-0199 §4.1), and so does anything else it says.
    private func probe(_ session: any Session, _ lost: Counter) {
        let timeout = options.timeout
        session.request(Element("ping", .ping), within: timeout) { answer in
            guard answer == nil, session.isConnected, session.silence >= timeout else { return }
            lost.value += 1
            session.disconnect(.connectionTimeout)
        }
    }
}
