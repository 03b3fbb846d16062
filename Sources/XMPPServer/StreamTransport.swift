public import ModuleKit
import XMPPStream

public enum ChannelBindingType: String, Hashable, Sendable, CaseIterable {
    /// RFC 9266, TLS 1.3 and 1.2 with extended master secret.
    case tlsExporter = "tls-exporter"
    /// RFC 5929 §4: hash of the server's certificate.
    case tlsServerEndPoint = "tls-server-end-point"
}

/// The bytes below a stream, as the kernel sees them: framing, TLS and socket, or a test's in-memory stand-in.
/// Confined to `loop`; every call is made there.
///
/// Sending only renders into this connection's output; one flush per turn of the loop writes it (DESIGN: write on
/// each, flush once).
public protocol StreamTransport: AnyObject {
    var loop: any Loop { get }
    var peer: PeerInfo { get }
    /// Nil while the bytes are in clear.
    var tls: TLSInfo? { get }
    func channelBinding(_ type: ChannelBindingType) -> [UInt8]?
    /// The addresses that the client's certificate has for itself, if it showed one in the handshake and this host
    /// (canonical name) believes who signed it.
    func certifiedAddresses(for host: String) -> [String]
    /// When the last bytes came, white space too, or could have come: when the connection was made, and when reading
    /// went on after a pause.
    var lastHeard: Instant { get }

    /// Applies from the next bytes on.
    var limits: XMLLimits { get set }
    /// Who hears of this stream. Strong until the transport is closed.
    var handler: (any StreamHandler)? { get set }

    func open(_ header: StreamHeader)
    func send(_ element: Element)
    /// `<a h='…'/>` (XEP-0198 §4): sent as often as stanzas, so without an element.
    func sendAnswer(h: UInt32)
    /// `<r/>`.
    func sendRequest()
    /// White space, where that means nothing (RFC 6120 §4.6.1), unless something is under way already.
    func keepAlive()
    /// Renders the stanza; the receipt is let go when the kernel has taken its bytes (nil: nobody waits).
    func send(_ stanza: Stanza, receipt: Receipt?)

    /// Bytes rendered that the kernel has not taken. Above `XMPPServer` limits the session stops sending.
    var pendingBytes: Int { get }
    /// Calls `handler.writable()` once, when `pendingBytes` has fallen below the low mark (a quarter of 64 KiB).
    func notifyWhenWritable()

    /// From the next byte on TLS is spoken; the answer to `<starttls/>` was sent before. Clear bytes that are already
    /// here end the stream. Ends in `handler.tlsEstablished()` or `handler.disconnected(…)`.
    func startTLS()
    /// The next thing to arrive must be a new stream header (RFC 6120 §4.3.3).
    func restart()
    /// Moves the connection to another loop and calls `handler.rehomed()` there; bytes that arrived meanwhile follow.
    /// Until then nothing may be sent. If the peer dies during the move, `handler.disconnected` is called on one of
    /// the two loops, after `rehomed` if the stanzas already received are still to be handled.
    func rehome(to loop: any Loop)

    /// Goes on after a handler answered `.pause`: first what is held back, then new bytes.
    func resumeReading()

    /// Sends the error (if any) and the end of the stream, flushes, closes the socket. Bounded: a peer that does not
    /// read is cut after some seconds. `handler` hears `disconnected` at the end, always exactly once.
    func close(_ error: StreamError?)
    /// Cuts the connection now.
    func abort()
}

/// What a transport tells its stream. Called on the transport's loop.
public protocol StreamHandler: AnyObject {
    func streamOpened(_ header: StreamHeader) -> Directive
    func received(_ element: XMLTree) -> Directive
    /// The peer ended its stream (`</stream:stream>`, `<close/>`).
    func streamEnded()
    /// The bytes broke a rule of XML or of the framing; the answer is `transport.close(error)`.
    func streamFailed(_ error: StreamError)
    func tlsEstablished()
    func rehomed()
    func writable()
    /// The socket is gone; the transport says nothing more. True: the peer closed in order.
    func disconnected(clean: Bool)
}

extension StreamTransport {
    public func certifiedAddresses(for host: String) -> [String] { [] }
    public func keepAlive() {}
    public func sendAnswer(h: UInt32) { send(StreamManagementElement.answerElement(h: h)) }
    public func sendRequest() { send(StreamManagementElement.requestElement) }
}
