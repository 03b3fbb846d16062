public import ModuleKit

/// XEP-0077: clients make accounts by themselves, change their passwords and remove their accounts.
public struct RegisterModule: Module {
    public static let info = ModuleInfo("register", [.xep(77, version: "2.4")], isUsual: false)

    public struct Options: ModuleOptions {
        var opens: Bool
        var changesPasswords: Bool
        var removes: Bool
        var instructions: String
        var rules: RegistrationRules
        var perAddress: Int
        var total: Int
        var span: Duration

        public init(from section: inout ConfigSection) {
            opens = section.bool("create", default: true, "Whether strangers may make accounts.")
            changesPasswords = section.bool("password", default: true, "Whether accounts may change their passwords.")
            removes = section.bool("remove", default: true, "Whether accounts may remove themselves.")
            instructions = section.string(
                "instructions", default: "Choose a username and a password.", "What clients show above the form.")
            rules = RegistrationRules(from: &section)
            perAddress = section.int(
                "per_address", default: 10, in: 1...1_000_000,
                "Attempts of one address (for IPv6: one /64), and new passwords of one account, within `interval`.")
            total = section.int(
                "total", default: 1000, in: 1...1_000_000, "Attempts of all addresses together within `interval`.")
            span = section.duration(
                "interval", default: .hours(1), in: .seconds(1) ... .days(30), "How long attempts count.")
        }
    }

    private let options: Options
    private let registration: Registration
    /// Changes of passwords, by account: each costs as much as making one.
    private let changes: RateLimiter

    public init(_ options: Options, in host: HostContext) {
        self.options = options
        // Counts are of the process, not of a loop or a host; those of the running interval are all that a reload loses.
        registration = Registration(
            rules: options.rules, instructions: options.instructions,
            limiter: RateLimiter(perKey: options.perAddress, total: options.total, span: options.span))
        changes = RateLimiter(perKey: options.perAddress, total: 100_000, span: options.span)
    }

    public func install(on host: inout HostBuilder) {
        host.feature(.register)
        if options.opens { open(&host) }
        let registered = Registered(options, changes)
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
