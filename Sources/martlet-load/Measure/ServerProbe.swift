import Glibc

/// What the measured processes have used: CPU to the nanosecond, memory as the kernel accounts for it.
///
/// CPU is the processes' CPU clocks: user and kernel time of all threads, ended ones included. Work that the kernel
/// does for the server in somebody else's time (loopback delivers a packet in the sender's) is not in it, for every
/// server alike.
struct ServerProbe {
    /// Memory of a process at one moment, in bytes.
    struct Memory {
        var anonymous = 0
        var privateDirty = 0
        var proportional = 0
        var resident = 0
        /// System-wide, so both ends of every connection: pages of TCP buffers, and the kernel's slabs.
        var tcpBuffers = 0
        var slab = 0
    }

    private let processes: [(id: pid_t, clock: clockid_t)]

    /// - Throws: `LoadFailure` when a process does not exist.
    init(_ ids: [Int]) throws {
        processes = try ids.map { number in
            var clock = clockid_t()
            guard clock_getcpuclockid(pid_t(number), &clock) == 0 else {
                throw LoadFailure("no process \(number) to measure")
            }
            return (pid_t(number), clock)
        }
    }

    var isEmpty: Bool { processes.isEmpty }

    /// CPU nanoseconds used so far, summed over the processes.
    func cpu() -> UInt64 {
        processes.reduce(0) { $0 + Clock.read($1.clock) }
    }

    func memory() -> Memory {
        var memory = Memory()
        for process in processes {
            for (key, kilobytes) in Self.table("/proc/\(process.id)/smaps_rollup") {
                switch key {
                case "Anonymous": memory.anonymous += kilobytes * 1024
                case "Private_Dirty": memory.privateDirty += kilobytes * 1024
                case "Pss": memory.proportional += kilobytes * 1024
                case "Rss": memory.resident += kilobytes * 1024
                default: break
                }
            }
        }
        for (key, kilobytes) in Self.table("/proc/meminfo") where key == "Slab" { memory.slab = kilobytes * 1024 }
        memory.tcpBuffers = Self.tcpPages() * Int(sysconf(Int32(_SC_PAGESIZE)))
        return memory
    }

    /// Waits until the processes have nothing left to do: less than 2 ms of CPU in 200 ms, or the time is over.
    func waitUntilQuiet(atMost seconds: Double) {
        guard !isEmpty else { return }
        let end = Clock.now() + UInt64(seconds: seconds)
        var before = cpu()
        while Clock.now() < end {
            Clock.sleep(seconds: 0.2)
            let after = cpu()
            if after - before < 2_000_000 { return }
            before = after
        }
    }

    private static func table(_ path: String) -> [(key: Substring, kilobytes: Int)] {
        contents(of: path).split(separator: "\n").compactMap { line in
            let parts = line.split(separator: " ", omittingEmptySubsequences: true)
            guard parts.count >= 2, parts[0].last == ":", let number = Int(parts[1]) else { return nil }
            return (parts[0].dropLast(), number)
        }
    }

    private static func tcpPages() -> Int {
        for line in contents(of: "/proc/net/sockstat").split(separator: "\n") where line.hasPrefix("TCP:") {
            let parts = line.split(separator: " ")
            if let place = parts.firstIndex(of: "mem"), place + 1 < parts.count { return Int(parts[place + 1]) ?? 0 }
        }
        return 0
    }

    static func contents(of path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = fread(&chunk, 1, chunk.count, file)
            if count == 0 { break }
            bytes.append(contentsOf: chunk[0..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
