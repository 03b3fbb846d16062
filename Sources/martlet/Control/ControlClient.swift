import Foundation
import ModuleKit

/// A command's side of the control socket. Blocking: a command has nothing else to do.
struct ControlClient {
    let directory: DataDirectory

    /// Whether a server listens. A socket that a dead one left behind does not count.
    var isServerRunning: Bool {
        guard let descriptor = try? connect() else { return false }
        close(descriptor)
        return true
    }

    /// Sends a request and waits for its answer, as long as the server takes.
    ///
    /// - Throws: `CommandError`: no server runs, it went away, or what it answered.
    func run(_ request: ControlRequest) throws(CommandError) -> CommandOutput {
        try answer(request).output()
    }

    func answer(_ request: ControlRequest) throws(CommandError) -> ControlAnswer {
        let line = try ControlCoding.line(request)
        guard line.count <= ControlRequest.longest else { throw .usage("the request is too long") }
        let descriptor = try connect()
        defer { close(descriptor) }
        try write(line, to: descriptor)
        let bytes = try readAll(descriptor)
        guard let answer = ControlCoding.decode(ControlAnswer.self, bytes) else {
            throw .unavailable(bytes.isEmpty ? "the server went away" : "the server's answer makes no sense")
        }
        return answer
    }

    private func connect() throws(CommandError) -> Int32 {
        let notRunning = CommandError.unavailable("no server is running on \(directory.path)")
        guard let address = try? directory.socketAddress() else { throw notRunning }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .unavailable("no socket can be made: \(systemError())") }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        let path = Array(address.path.utf8)
        withUnsafeMutableBytes(of: &name.sun_path) { space in
            for (index, byte) in path.prefix(space.count - 1).enumerated() { space[index] = byte }
        }
        let result = withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let reason = errno
            close(descriptor)
            switch reason {
            case ENOENT, ECONNREFUSED: throw notRunning
            default: throw .unavailable("\(directory.socketPath) cannot be reached: \(systemError(reason))")
            }
        }
        return descriptor
    }

    private func write(_ bytes: Data, to descriptor: Int32) throws(CommandError) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .unavailable("the server went away: \(systemError())") }
            rest = rest.dropFirst(count)
        }
    }

    private func readAll(_ descriptor: Int32) throws(CommandError) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw .unavailable("the server went away: \(systemError())") }
            if count == 0 { return bytes }
            bytes.append(contentsOf: chunk[..<count])
            if bytes.count > 256 << 20 { throw .unavailable("the server's answer is too long") }
        }
    }
}
