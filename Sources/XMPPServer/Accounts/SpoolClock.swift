import ModuleKit

/// What the time of day decides about messages that wait. Clocks are wrong at times: a machine without a battery boots
/// in 1970, another one stands in the far future until it is set.
enum SpoolClock {
    /// Whether a message is too old to be delivered. A stamp or a time of day that cannot be true expires nothing, and
    /// neither does a stamp of the future. `expiry` 0: never.
    static func isExpired(_ stamp: Timestamp, at now: Timestamp, after expiry: Duration) -> Bool {
        guard expiry > .zero, stamp.isPlausible, now.isPlausible else { return false }
        return now.milliseconds - stamp.milliseconds > expiry.components.seconds * 1000
    }
}
