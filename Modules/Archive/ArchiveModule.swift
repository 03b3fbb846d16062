public import ModuleKit

/// XEP-0313: what an account's clients send and get is kept, and each of them can fetch it in pages.
public struct ArchiveModule: Module {
    public static let info = ModuleInfo(
        "mam",
        [
            .xep(59, version: "1.0", missing: "pages by index"), .xep(297, version: "1.0"),
            .xep(313, version: "1.1.3", missing: "group chat in the archives of accounts"),
            .xep(359, version: "0.7.0"), .xep(441, version: "0.2.0", missing: "the ad-hoc command"),
        ],
        needs: [(any MessageService).self])

    public struct Options: ModuleOptions {
        var page: Int
        var habit: ArchivePreferences.Habit
        var retention: Retention

        public init(from section: inout ConfigSection) {
            page = section.int(
                "page", default: 100, in: 10...500, "Most messages of one page, whatever the client asks for.")
            habit = section.choice(
                "default", default: .always,
                "Whose messages are archived for accounts that have not chosen: of all, of contacts, of nobody.")
            retention = Retention(
                expiry: section.duration(
                    "expiry", default: .days(365), in: .days(1) ... .days(36_500),
                    "Messages older than this are dropped from archives. Clients that were away longer find a gap."),
                rows: section.int(
                    "rows", in: 100...100_000_000,
                    "Most messages of one account's archive; the oldest go first. As many as there are unless set."))
        }
    }

    /// How long and how much is kept.
    struct Retention: Hashable, Sendable {
        var expiry: Duration
        /// Nil: as many as there are.
        var rows: Int?
    }

    private let options: Options
    private let storage: any StorageBackend

    public init(_ options: Options, in host: HostContext) {
        self.options = options
        storage = host.storage
    }

    public func install(on host: inout HostBuilder) {
        // COMPAT(profanity 0.13, 2026-11): it looks at the host.
        host.feature(.archive, at: [.account, .host])
        host.feature("urn:xmpp:mam:2#extended", at: [.account])
        host.feature("urn:xmpp:mam:2#groupchat-field", at: [.account])
        host.feature(.stanzaID, at: [.account])
        host.loadAccount(AccountArchive.self, AccountArchive.load)
        let recorder = ArchiveRecorder(
            contacts: host.find((any ContactService).self), habit: options.habit,
            recorded: host.counter("recorded", "Messages put into archives, one for each archive."),
            unrecorded: host.counter("unrecorded", "Messages delivered that could not be archived."))
        let messages = Interest.message.of(.chat, .normal)
        host.received.add(.record, on: messages) { event in recorder.sent(&event) }
        host.arriving.add(.record, on: messages) { event in recorder.arrived(&event) }
        ArchiveQueries(page: options.page).install(on: &host)
        PreferenceRequests(habit: options.habit).install(on: &host)
        for command in ArchiveCommands(storage: storage).all { host.command(command) }
        let expired = host.counter("expired", "Messages dropped from archives because of their age or number.")
        let sweeper = ArchiveSweeper(options.retention, host.hosts, expired: expired)
        if host.kernel.loopIndex == 0 { host.chore { kernel in sweeper.step(kernel) } }
    }
}
