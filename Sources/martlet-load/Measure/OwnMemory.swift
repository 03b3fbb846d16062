import CLoadShims
import Glibc

/// Memory of this process at one moment.
struct OwnMemory {
    /// Bytes of pages that are in memory.
    let resident: Int
    /// Bytes that malloc has given out.
    let allocated: Int

    /// After what is free was given back: what grows from here on is new.
    static func trimmed() -> OwnMemory {
        load_trim_heap()
        return now()
    }

    static func now() -> OwnMemory {
        let fields = ServerProbe.contents(of: "/proc/self/statm").split(separator: " ")
        let pages = fields.count > 1 ? Int(fields[1]) ?? 0 : 0
        return OwnMemory(resident: pages * Int(sysconf(Int32(_SC_PAGESIZE))), allocated: Int(load_heap_bytes()))
    }
}
