import Dispatch

/// What reads files, which a file system that hangs can make wait for ever.
enum FileWork {
    /// Runs the body on a thread that nobody else needs, and waits for it without holding one.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { end in
            DispatchQueue(label: "files").async { end.resume(returning: body()) }
        }
    }
}
