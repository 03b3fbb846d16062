import Foundation
import XMPPTransport

/// What the system says of the server's process.
struct ProcessStatus {
    private let began = ContinuousClock.now

    /// For `status`.
    var rows: [[String]] {
        let seconds = (ContinuousClock.now - began).components.seconds
        return [
            ["version", Martlet.version], ["pid", String(getpid())], ["uptime_seconds", String(seconds)],
            ["memory_bytes", Self.memory.map(String.init) ?? "-"],
            ["descriptors", Self.descriptors.map(String.init) ?? "-"],
            ["descriptors_allowed", String(DescriptorLimit.now)],
            ["log_lines_dropped", String(StandardError.dropped)],
        ]
    }

    /// Resident.
    private static var memory: Int? {
        guard let text = try? BoundedFile.read("/proc/self/statm", limit: 4096) else { return nil }
        let words = String(decoding: text, as: UTF8.self).split(separator: " ")
        return words.count > 1 ? Int(words[1]).map { $0 * sysconf(Int32(_SC_PAGESIZE)) } : nil
    }

    private static var descriptors: Int? {
        // One of them reads the directory.
        (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd"))?.count
    }
}
