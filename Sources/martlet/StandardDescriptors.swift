import Foundation

/// Standard input, output and error, on which every part of a process counts.
enum StandardDescriptors {
    /// Opens those on `/dev/null` that the caller of this process has closed: otherwise the next file to be opened, the
    /// database for one, would get such a number, and with it all that is written to standard error. To be called before
    /// anything opens a descriptor.
    ///
    /// - Returns: False if one is closed and cannot be opened.
    static func fillGaps() -> Bool {
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
            // The system gives the lowest number that is free, and those below are taken.
            guard open("/dev/null", O_RDWR) == descriptor else { return false }
        }
        return true
    }

    /// Writes everything, and waits while the other end does not read, also on a descriptor that does not block.
    ///
    /// - Returns: How many bytes were written; fewer than all of them after an error, with the reason in `errno`.
    static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int {
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                written += count
            } else if count < 0, errno == EAGAIN {
                var wish = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                guard poll(&wish, 1, -1) >= 0 || errno == EINTR else { return written }
            } else if count == 0 || errno != EINTR {
                return written
            }
        }
        return written
    }
}
