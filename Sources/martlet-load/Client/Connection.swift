import CLoadShims
import Glibc

/// One user's connection: its socket, what is not yet written or read, and how far the login is.
///
/// Owned by one `Worker`, and only touched by its thread.
final class Connection {
    enum State {
        case unused, connecting, handshaking, open, closing, closed
    }

    /// What the server's next element has to be.
    enum Step {
        case features, proceed, challenge, success, bindFeatures, bound, enabled, roster, presence, pairing, done
    }

    /// What the last read or write of the socket came to.
    enum Outcome {
        case bytes(Int), nothing, closed
    }

    /// The number in the user's name.
    let user: Int
    /// Its place among the worker's connections.
    let place: Int

    var state = State.unused
    var step = Step.features
    var descriptor: Int32 = -1
    var tls: TLSClient?
    var scram: SCRAM?
    var scanner = StanzaScanner()
    /// The stream starts anew behind the element just handled.
    var restarts = false
    var kept: [UInt8] = []
    var output: [UInt8] = []
    var waitsForOutput = false
    var address = ""
    var began: UInt64 = 0

    // Stream management: stanzas counted from <enabled/> on.
    var isManaged = false
    var received: UInt32 = 0
    var sent: UInt32 = 0
    var confirmed: UInt32 = 0
    var owesAnswer = false
    var hasNews = false

    // What a workload keeps with a connection.
    var message = MessageTemplate()
    var counter = 0

    init(user: Int, place: Int) {
        self.user = user
        self.place = place
    }

    func append(_ text: String) {
        output.append(contentsOf: text.utf8)
    }

    /// Queues a message with this number in its id.
    func append(_ message: MessageTemplate, number: UInt64) {
        let offset = output.count + message.numberOffset
        output.append(contentsOf: message.bytes)
        Hex.write(number, into: &output, at: offset)
        sent &+= 1
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) -> Outcome {
        if let tls {
            guard let count = tls.read(into: buffer) else { return .closed }
            return count == 0 ? .nothing : .bytes(count)
        }
        return outcome(recv(descriptor, buffer.baseAddress, buffer.count, 0), zeroIsEnd: true)
    }

    func write(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        if let tls {
            guard let count = tls.write(bytes) else { return .closed }
            return count == 0 ? .nothing : .bytes(count)
        }
        return outcome(send(descriptor, bytes.baseAddress, bytes.count, LOAD_MSG_NOSIGNAL), zeroIsEnd: false)
    }

    private func outcome(_ result: Int, zeroIsEnd: Bool) -> Outcome {
        if result > 0 { return .bytes(result) }
        if result == 0 { return zeroIsEnd ? .closed : .nothing }
        return errno == EAGAIN || errno == EINTR ? .nothing : .closed
    }
}

/// Sockets towards the server, each from its own source address.
enum Dial {
    /// A connecting, non-blocking socket.
    static func connect(_ number: Int, _ settings: Settings) throws -> Int32 {
        let descriptor = socket(AF_INET, LOAD_SOCK_STREAM | LOAD_SOCK_NONBLOCK | LOAD_SOCK_CLOEXEC, 0)
        guard descriptor >= 0 else { throw LoadFailure("no socket: \(String(cString: strerror(errno)))") }
        var one: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(descriptor, LOAD_IPPROTO_TCP, LOAD_TCP_NODELAY, &one, size)
        if settings.sources > 0 {
            setsockopt(descriptor, LOAD_IPPROTO_IP, LOAD_IP_BIND_ADDRESS_NO_PORT, &one, size)
            let source = number % settings.sources
            let host = UInt32(127) << 24 | 1 << 16 | UInt32(source / 250) << 8 | UInt32(source % 250 + 1)
            guard call(bind, descriptor, address(host, 0)) == 0 else {
                let reason = String(cString: strerror(errno))
                close(descriptor)
                throw LoadFailure("cannot bind a source address: \(reason)")
            }
        }
        var parsed = in_addr()
        guard inet_pton(AF_INET, settings.address, &parsed) == 1 else {
            close(descriptor)
            throw LoadFailure("\(settings.address) is not an IPv4 address")
        }
        let target = address(UInt32(bigEndian: parsed.s_addr), settings.port)
        guard call(Glibc.connect, descriptor, target) == 0 || errno == EINPROGRESS else {
            let reason = String(cString: strerror(errno))
            close(descriptor)
            throw LoadFailure("cannot connect: \(reason)")
        }
        return descriptor
    }

    /// Why connecting failed; nil: it did not.
    static func error(of descriptor: Int32) -> String? {
        var code: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) == 0 else { return "bad socket" }
        return code == 0 ? nil : String(cString: strerror(code))
    }

    private static func address(_ host: UInt32, _ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = host.bigEndian
        return address
    }

    private static func call(
        _ function: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32, _ descriptor: Int32, _ address: sockaddr_in
    ) -> Int32 {
        withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                function(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
