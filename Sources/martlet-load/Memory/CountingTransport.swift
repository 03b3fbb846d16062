import ModuleKit
import XMPPServer
import XMPPTransport

/// A connection without socket and parser: what it is sent is rendered as for a socket, counted and forgotten.
///
/// Confined to its driver's loop; between the two halves of a move nobody touches it.
final class CountingTransport: StreamTransport, @unchecked Sendable {
    private(set) var driver: LoopDriver
    var handler: (any StreamHandler)?
    /// Only until the client has its session.
    private var login: ClientLogin? = ClientLogin()
    let user: UInt32

    init(_ driver: LoopDriver, user: Int) {
        self.driver = driver
        self.user = UInt32(user)
    }

    /// All come from one place.
    private static let everyPeer = PeerInfo(address: "192.0.2.1", port: 4242)

    var loop: any Loop { driver.loop }
    var peer: PeerInfo { Self.everyPeer }
    /// Nobody here asks how long a client has been silent.
    var lastHeard: Instant { loop.now }
    var tls: TLSInfo? { nil }
    func channelBinding(_ type: ChannelBindingType) -> [UInt8]? { nil }

    /// The driver's parser has its own.
    var limits: XMLLimits {
        get { .authenticated }
        set {}
    }

    // MARK: Sending

    func open(_ header: StreamHeader) {
        driver.render { $0.writeOpen(header, into: $1) }
    }

    func send(_ element: Element) {
        driver.render { $0.write(element, into: $1) }
        login?.answer = XMLTree(element)
        touch()
    }

    func send(_ stanza: Stanza, receipt: Receipt?) {
        driver.deliver(stanza)
        if login != nil { ready(stanza) }
    }

    var pendingBytes: Int { 0 }
    func notifyWhenWritable() {}

    // MARK: Logging in

    /// The end of a turn will see what the client can do.
    func touch() {
        guard let login, !login.isTouched else { return }
        login.isTouched = true
        driver.touch(self)
    }

    func turnEnded() {
        guard let login else { return }
        login.isTouched = false
        if let target = login.moveTarget {
            login.moveTarget = nil
            return move(to: target)
        }
        if !login.act(self, driver) { driver.complain("\(ClientNames.user(Int(user))): refused at \(login.step)") }
    }

    /// The client's own presence has come back: it is logged in.
    private func ready(_ stanza: Stanza) {
        guard stanza.kind == .presence, login?.step == .presence else { return }
        login = nil
        driver.loggedIn(self)
    }

    func startTLS() { driver.complain("TLS was asked for") }
    func restart() {}

    func resumeReading() {
        login?.isPaused = false
        touch()
    }

    func rehome(to loop: any Loop) {
        login?.moveTarget = loop
        touch()
    }

    private func move(to target: any Loop) {
        guard target !== loop else { return arrive() }
        target.post(
            .work { [self] in
                driver = driver.driver(of: target)
                arrive()
            })
    }

    private func arrive() {
        login?.isPaused = false
        handler?.rehomed()
        touch()
    }

    // MARK: Ending

    func close(_ error: StreamError?) {
        driver.complain("\(ClientNames.user(Int(user))): closed, \(error.map { "\($0)" } ?? "no error")")
        abort()
    }

    func abort() {
        login = nil
        driver.loop.defer_ { [self] in
            handler?.disconnected(clean: true)
            handler = nil
        }
    }
}
