import Dispatch
import Foundation
import ModuleKit
import Synchronization
import XMPPServer

/// The place for errors and the log. Commands write at once, as every program does; in a server, which must not wait
/// for whoever reads it, everything goes through a queue.
enum StandardError {
    /// How long the end of a process waits for its last lines to be read.
    static let patience = DispatchTimeInterval.seconds(1)

    private static let queue = Mutex<LogQueue?>(nil)

    /// Has everything written by a queue from now on.
    static func startQueue(_ format: LogConfig.Format) -> LogQueue {
        let isTorn = Mutex(false)
        let queue = LogQueue(notice: { notice($0, format) }) { line in
            isTorn.withLock { isTorn in
                // On a disk that was full for a while the next line begins where the last one ends.
                let line = isTorn ? [UInt8(ascii: "\n")] + line : line
                let count = StandardDescriptors.write(line, to: STDERR_FILENO)
                if count > 0 { isTorn = count < line.count }
                return count == line.count
            }
        }
        self.queue.withLock { $0 = queue }
        return queue
    }

    static func write(_ bytes: [UInt8]) {
        if let queue = queue.withLock({ $0 }) {
            queue.add(bytes, always: true)
        } else {
            _ = StandardDescriptors.write(bytes, to: STDERR_FILENO)
        }
    }

    /// Lines of the server's log that were not written: nobody read, the reader was gone, or the disk was full.
    static var dropped: Int { queue.withLock { $0 }?.dropped ?? 0 }

    /// For the end of the process.
    static func flush(within time: DispatchTimeInterval = patience) {
        _ = queue.withLock { $0 }?.flush(within: time)
    }

    private static func notice(_ count: Int, _ format: LogConfig.Format) -> [UInt8] {
        var line = LogLine(format)
        line.add("time", LineLogHandler.wallClock().description)
        line.add("level", "warning")
        line.add("event", "log_lines_dropped")
        line.add("lines", String(count))
        return line.finished()
    }
}
