import ModuleKit
import XML
import XMPPCore
import XMPPServer

@testable import XMPPTransport

/// What a handler heard.
enum Heard: Equatable, Sendable {
    case opened(to: String?)
    /// The name of an element and its `id`.
    case element(String, String)
    case ended
    case failed(String)
    case secured
    case rehomed(loop: Int)
    case writable
    case disconnected(clean: Bool)
}

/// A stream handler that notes what it hears and does what its test says.
final class Script: StreamHandler, @unchecked Sendable {
    /// Only while it is open.
    unowned let transport: any StreamTransport
    let peer: PeerInfo
    let journal = Journal<Heard>()
    var onElement: (Script, XMLTree) -> Directive = { _, _ in .proceed }
    var onRehomed: (Script) -> Void = { _ in }
    var onWritable: (Script) -> Void = { _ in }
    var onDisconnected: (Script) -> Void = { _ in }

    init(_ transport: any StreamTransport) {
        self.transport = transport
        peer = transport.peer
    }

    /// Runs on the loop that the connection is on now.
    func perform(_ work: @escaping @Sendable (Script) -> Void) {
        transport.loop.post(.work { work(self) })
    }

    func streamOpened(_ header: StreamHeader) -> Directive {
        journal.note(.opened(to: header.to))
        transport.open(StreamHeader(from: header.to, id: "s", version: "1.0"))
        return .proceed
    }

    func received(_ element: XMLTree) -> Directive {
        journal.note(.element(element.root.name, element.root.attribute("id") ?? ""))
        return onElement(self, element)
    }

    func streamEnded() {
        journal.note(.ended)
        transport.close(nil)
    }

    func streamFailed(_ error: StreamError) {
        journal.note(.failed(error.condition.rawValue))
        transport.close(error)
    }

    func tlsEstablished() { journal.note(.secured) }

    func rehomed() {
        journal.note(.rehomed(loop: transport.loop.index))
        onRehomed(self)
    }

    func writable() {
        journal.note(.writable)
        onWritable(self)
    }

    func disconnected(clean: Bool) {
        onDisconnected(self)
        journal.note(.disconnected(clean: clean))
    }
}

/// Runs the work that is posted to a loop; nothing else is expected there.
final class WorkReceiver: MailReceiver {
    func receive(_ mail: consuming Mail) {
        if case .work(let work) = mail { work() }
    }

    func turnEnded() {}
}

/// Loops, a listener and the handlers of its connections.
final class TestServer: Sendable {
    let group: TransportGroup
    let listener: Listener
    let scripts = Journal<Script>()

    init(
        loops: Int = 2, _ security: ListenerOptions.Security = .none, tls: TLSContext? = nil,
        prepare: @escaping @Sendable (Script) -> Void = { _ in },
        configure: (inout ListenerOptions) -> Void = { _ in }
    ) async throws {
        group = TransportGroup(loops: loops)
        for loop in group.loops { loop.attach(WorkReceiver()) }
        var options = ListenerOptions(address: "127.0.0.1", port: 0, security: security)
        configure(&options)
        let scripts = scripts
        listener = try await group.listen(options, tls: tls) { transport in
            let script = Script(transport)
            prepare(script)
            scripts.note(script)
            return script
        }
    }

    func connect(receiveBuffer: CInt? = nil) throws -> Client {
        try Client(port: listener.port, receiveBuffer: receiveBuffer)
    }

    /// The handler of the connection that was accepted as the so-manieth.
    func script(_ index: Int = 0) throws -> Script {
        guard scripts.wait(until: { $0.count > index }) else { throw Client.Failure(reason: "no handler") }
        return scripts.events[index]
    }

    /// Lets each loop come round once.
    func passTurn() {
        let passed = Journal<Int>()
        for loop in group.loops { loop.post(.work { passed.note(loop.index) }) }
        passed.wait { $0.count == group.loops.count }
    }

    /// False: connection objects are left although nobody should hold them.
    func isSilent(seconds: Int64 = 20) -> Bool {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while listener.counts.live > 0 {
            guard ContinuousClock.now < deadline else { return false }
            passTurn()
        }
        return true
    }
}

func message(_ id: String, _ body: String = "") -> Element {
    Element("message", .client, ["id": id], Element("body", .client, [:], body))
}
