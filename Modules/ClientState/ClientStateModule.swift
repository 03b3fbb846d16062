public import ModuleKit

/// XEP-0352: a client says that nobody looks at it, and is spared what nobody waits for.
public struct ClientStateModule: Module {
    public static let info = ModuleInfo("csi", [.xep(352, version: "1.0.0")])

    public struct Options: ModuleOptions {
        var stanzas: Int
        var bytes: Int

        public init(from section: inout ConfigSection) {
            stanzas = section.int(
                "stanzas", default: 100, in: 1...1000,
                "Most stanzas that wait for an inactive client. Then it gets them all.")
            bytes = section.bytes(
                "bytes", default: 64 << 10, in: 1024...(1 << 20), "Most bytes of them, in the same way.")
        }
    }

    private let options: Options

    public init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    public func install(on host: inout HostBuilder) {
        host.streamFeature(Element("csi", .clientState))
        let held = host.counter("held", "Stanzas that waited for clients that were inactive.")
        let policy = HoldingPolicy(stanzas: options.stanzas, bytes: options.bytes) { stanza in
            let patience = Urgency.patience(for: stanza)
            if patience != .none { held.value += 1 }
            return patience
        }
        host.elements(of: .clientState) { session, element in
            if element.isNamed("inactive") {
                session.holdBack(policy)
            } else if element.isNamed("active") {
                session.holdBack(nil)
            } else {
                return false
            }
            return true
        }
        host.closed.add { session in session.holdBack(nil) }
    }
}
