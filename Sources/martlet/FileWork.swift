import Dispatch

/// Work that reads files, and so may wait for ever where a file system hangs.
enum FileWork {
    /// Runs the body on a thread that nobody else needs, and waits for it without holding one.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { end in
            DispatchQueue(label: "files").async { end.resume(returning: body()) }
        }
    }
}
