import Foundation

/// Asks the system whether a port could be opened. Nobody can connect meanwhile: the socket is bound and never listens.
enum PortProbe {
    struct Refusal: Error, CustomStringConvertible {
        let description: String
    }

    /// Why it could not, as an error number of the system; nil if it could.
    ///
    /// - Parameter address: numeric; anything else is `EINVAL`.
    static func refusal(address: String, port: Int) -> Int32? {
        var (four, six) = (sockaddr_in(), sockaddr_in6())
        let isSix = inet_pton(AF_INET6, address, &six.sin6_addr) == 1
        guard isSix || inet_pton(AF_INET, address, &four.sin_addr) == 1 else { return EINVAL }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(isSix ? AF_INET6 : AF_INET, kind, 0)
        guard descriptor >= 0 else { return errno }
        defer { close(descriptor) }
        // As the listener does: a port whose last connections are only just over is free.
        var isReusing: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &isReusing, socklen_t(MemoryLayout<Int32>.size))
        six.sin6_family = sa_family_t(AF_INET6)
        six.sin6_port = UInt16(clamping: port).bigEndian
        four.sin_family = sa_family_t(AF_INET)
        four.sin_port = UInt16(clamping: port).bigEndian
        let result = isSix ? bind(descriptor, &six) : bind(descriptor, &four)
        return result == 0 ? nil : errno
    }

    private static func bind<Name>(_ descriptor: Int32, _ name: inout Name) -> Int32 {
        withUnsafeBytes(of: &name) { bytes in
            guard let start = bytes.baseAddress else { return -1 }
            return Foundation.bind(
                descriptor, start.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
        }
    }
}
