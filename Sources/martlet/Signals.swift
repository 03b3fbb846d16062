import Dispatch

/// The signals that the process hears.
enum Signals {
    /// Calls the handler for each signal from now on, until the process ends: on a queue of its own, so that neither a
    /// disk that hangs nor a lack of threads keeps a signal from being heard. Signals of one number that come at once may
    /// be one call. The handler must not wait.
    ///
    /// Returns when the signals are caught.
    static func listen(to numbers: [Int32], _ handler: @escaping @Sendable (Int32) -> Void) async {
        let queue = DispatchQueue(label: "signals")
        for number in numbers {
            await withCheckedContinuation { caught in
                let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
                source.setRegistrationHandler { caught.resume() }
                // The handler keeps its source.
                source.setEventHandler { withExtendedLifetime(source) { handler(number) } }
                source.resume()
            }
        }
    }
}
