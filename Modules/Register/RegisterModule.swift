public import ModuleKit

/// XEP-0077: clients make accounts by themselves, change their passwords and remove their accounts.
public struct RegisterModule: Module {
    public static let info = ModuleInfo("register", [.xep(77, version: "2.4")], isUsual: false)

    public struct Options: ModuleOptions {
        var opens: Bool
        var changesPasswords: Bool
        var removes: Bool
        var instructions: String
        var redirect: String?
        var rules: RegistrationRules
        /// Accounts that one stream may make.
        var perStream: Int
        /// To make an account, by address.
        var attempts: RateLimit
        /// New passwords, by account.
        var changes: RateLimit

        public init(from section: inout ConfigSection) {
            opens = section.bool("create", default: true, "Whether strangers may make accounts.")
            changesPasswords = section.bool("password", default: true, "Whether accounts may change their passwords.")
            removes = section.bool("remove", default: true, "Whether accounts may remove themselves.")
            let text = section.string(
                "instructions", default: "Choose a username and a password.", "What clients show above the form.")
            redirect = section.string(
                "redirect", "Page on the web where accounts are made. Strangers are sent there and make none here.")
            if let redirect, !Self.isPage(redirect) {
                section.error("redirect", "\(redirect) is no address like https://example.org/register")
            }
            instructions = redirect.map { section.has("instructions") ? text : "Accounts are made at \($0)" } ?? text
            rules = RegistrationRules(from: &section)
            perStream = section.int(
                "per_stream", default: 1, in: 1...1000,
                "Accounts that a client may make on one connection before it logs in. XEP-0077 wants one, and no client "
                    + "needs more; the runner of the XMPP Interop tests makes several.")
            let perAddress = section.int(
                "per_address", default: 10, in: 1...1_000_000,
                "Attempts of one address (for IPv6: one /64), and new passwords of one account, within `interval`.")
            let total = section.int(
                "total", default: 1000, in: 1...1_000_000, "Attempts of all addresses together within `interval`.")
            let span = section.duration(
                "interval", default: .hours(1), in: .seconds(1) ... .days(30), "How long attempts count.")
            attempts = RateLimit(perKey: perAddress, total: total, span: span)
            changes = RateLimit(perKey: perAddress, total: 100_000, span: span)
        }

        private static func isPage(_ text: String) -> Bool {
            ["https://", "http://"].contains { text.utf8.starts(with: $0.utf8) && text.utf8.count > $0.utf8.count }
                && text.utf8.allSatisfy {
                    $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "<") && $0 != UInt8(ascii: ">")
                }
        }
    }

    /// What was counted of all hosts.
    private final class Counted: Sendable {
        let attempts = RateLimiter()
        let changes = RateLimiter()
    }

    private let options: Options
    private let registration: Registration
    private let registered: Registered

    public init(_ options: Options, in host: HostContext) {
        self.options = options
        let counted = host.state.obtain(Counted.self) { Counted() }
        registration = Registration(options, counted.attempts)
        registered = Registered(options, counted.changes)
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.register)
        if options.opens || options.redirect != nil { open(&host) }
        let registered = registered
        for target in [Target.host, .account] {
            host.iq(.get, .register, "query", at: [target], from: .ownAccount) { request throws(StanzaError) in
                try registered.get(request)
            }
            host.iq(.set, .register, "query", at: [target], from: .ownAccount, answering: .inOrder) {
                request, responder throws(StanzaError) in
                try registered.set(request, responder)
            }
        }
    }

    private func open(_ host: inout HostBuilder) {
        let made = host.counter("made", "Accounts that clients made.")
        let refused = host.counter("refused", "Attempts to make an account that were refused.")
        host.streamFeature(Element("register", .registerFeature), .encrypted)
        host.streamIQ(.get, .register, "query") { request, responder in
            responder.answer(.success(registration.form))
        }
        host.streamIQ(.set, .register, "query") { request, responder throws(StanzaError) in
            do throws(StanzaError) {
                try registration.register(request, made, refused, responder)
            } catch {
                refused.value += 1
                throw error
            }
        }
    }
}

extension Namespace {
    /// The stream feature of XEP-0077.
    static let registerFeature = Namespace("http://jabber.org/features/iq-register")
}
