import Glibc

/// Accepts connections and reads their first line, one after the other, before NIO gets them.
///
/// That costs nothing while bytes are relayed, and lets both ends of a pair start on the loop they belong to.
struct Listener {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    private let descriptor: Int32
    let port: UInt16

    init(address: String, port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        guard inet_pton(AF_INET, address, &name.sin_addr) == 1 else {
            throw Failure(description: "\(address) is not an IPv4 address")
        }
        let descriptor = descriptor
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && listen(descriptor, 4096) == 0
                    && getsockname(descriptor, $0, &size) == 0
            }
        }
        guard bound else { throw Failure(description: "cannot listen: \(String(cString: strerror(errno)))") }
        self.port = UInt16(bigEndian: name.sin_port)
    }

    /// The next connection and the number in its first line; nil: it had none within a second.
    func accept() -> (descriptor: Int32, pair: Int)? {
        let accepted = Glibc.accept(descriptor, nil, nil)
        guard accepted >= 0 else { return nil }
        var patience = timeval(tv_sec: 1, tv_usec: 0)
        setsockopt(accepted, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var number = 0
        var byte: UInt8 = 0
        while recv(accepted, &byte, 1, 0) == 1 {
            if byte == UInt8(ascii: "\n") { return (accepted, number) }
            guard byte >= 0x30, byte <= 0x39, number < 1 << 40 else { break }
            number = number * 10 + Int(byte - 0x30)
        }
        close(accepted)
        return nil
    }
}
