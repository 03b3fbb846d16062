public import ModuleKit

/// XEP-0160: messages for accounts without an available resource are kept and delivered at the next login, or shown to
/// a client that asks for them one by one (XEP-0013).
public struct OfflineModule: Module {
    public static let info = ModuleInfo(
        "offline", [.xep(13, version: "1.3"), .xep(160, version: "1.0.1"), .xep(203, version: "2.0")],
        needs: [(any PresenceService).self, (any MessageService).self], provides: [(any KeepingService).self])

    public struct Options: ModuleOptions {
        var policy: SpoolPolicy

        public init(from section: inout ConfigSection) {
            policy = SpoolPolicy(
                limit: section.int(
                    "limit", default: 200, in: 1...100_000, "Most messages kept per account. The next one is bounced."),
                expiry: section.duration(
                    "expiry", default: .days(90), in: .hours(1) ... .days(3650),
                    "Messages older than this are dropped instead of delivered."))
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.feature("msgoffline")
        host.spool(options.policy)
        let kept = host.counter("kept", "Messages kept for accounts that were not there.")
        host.undeliverable.add(.deliver, on: .message) { event in self.keep(&event, kept) }
        host.available.add { session in session.account.drain(to: session) }
        Retrieval.install(on: &host)
    }

    /// Keeps what deserves it (XEP-0160 §3). It only enqueues: the receipt is held until the row is on disk, and a full
    /// spool answers `service-unavailable`.
    private func keep(_ event: inout Undeliverable, _ kept: Counter) -> Verdict {
        switch event.envelope.stanza.classification.storage {
        case .keep:
            kept.value += 1
            event.account.spool(event.envelope)
            return .handled
        case .vanish: return .handled
        case .bounce: return .next
        }
    }
}
