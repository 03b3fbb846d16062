import ModuleKit

/// A service with a domain of its own: whatever is sent to `NAME@echo.HOST` comes back with a number that this name
/// counts. The smallest thing that is like a room: keyed state, loaded, written back and forgotten.
struct EchoModule: Module {
    static let info = ModuleInfo("echo")
    static let store: StoreName = "echo"

    struct Options: ModuleOptions {
        var greeting: String

        init(from section: inout ConfigSection) {
            greeting = section.string("greeting", default: "", "Put before every answer.")
        }
    }

    final class Count {
        var value: Int
        init(_ value: Int) { self.value = value }
    }

    let options: Options

    init(_ options: Options, in host: HostContext) {
        self.options = options
    }

    func install(on host: inout HostBuilder) {
        host.domain("echo") { domain in
            domain.disco.identities = [.init(category: "component", type: "generic", name: "Echo")]
            domain.confined(Count.self, idle: .seconds(60)) { snapshot, owner throws(StorageError) in
                let stored = try snapshot.value(Self.store, owner, key: "count")
                return Moved(Count(stored.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0))
            } receive: { entity, envelope in
                answer(envelope, entity)
            } save: { entity in
                let value = Array(String(entity.state.value).utf8)
                return [.put(Self.store, entity.context.owner, key: "count", value: value)]
            }
        }
    }

    private func answer(_ envelope: Envelope, _ entity: Entity<Count>) {
        let stanza = envelope.stanza
        guard stanza.kind == .message, stanza.type != .error, let from = stanza.from else {
            return entity.context.kernel.bounce(envelope, .serviceUnavailable)
        }
        entity.state.value += 1
        var reply = Element("message", .client, ["type": "chat"])
        let said = stanza.root.first("body", .client)?.text ?? ""
        reply.append(Element("body", .client, [:], "\(options.greeting)\(entity.state.value) \(said)"))
        let address = JID(entity.context.address)
        entity.context.kernel.route(Envelope(Stanza(reply).with(from: address, to: from), receipt: envelope.receipt))
    }
}
