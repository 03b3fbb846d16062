import ModuleKit
import XMPPStream

/// Messages that sessions leave to their account when they end. One may leave a thousand, so they are written to the
/// store in portions, and the loop looks after others between two of them.
extension AccountSpool {
    /// Messages that one turn keeps, and their bytes, rendered in memory.
    private static let portion = 64
    private static let portionBytes = 128 << 10

    /// Keeps them in this order, and behind them all that arrives from now on.
    func keep(leftovers deliveries: [Delivery]) {
        guard !deliveries.isEmpty else { return }
        for delivery in deliveries { _ = leftovers.append(delivery, bytes: delivery.stanza.byteCount) }
        closeGate()
        keepLeftovers()
    }

    /// The server stops.
    func keepAllLeftovers() {
        while keepLeftover() {}
    }

    /// A message that arrives waits behind the left-overs, and takes two of them with it, so that they do not grow.
    func keepBehindLeftovers(_ envelope: Envelope) {
        let delivery = Delivery(envelope, stamp: shard.wallClock)
        _ = leftovers.append(delivery, bytes: delivery.stanza.byteCount)
        _ = keepLeftover()
        _ = keepLeftover()
    }

    private func keepLeftovers() {
        let end = leftovers.byteCount - Self.portionBytes
        for _ in 0..<Self.portion where leftovers.byteCount > end {
            guard keepLeftover() else { break }
        }
        // The last ones may have gone back to their senders, and nothing follows.
        guard !leftovers.isEmpty else { return departIfDone() }
        guard !areLeftoversDue else { return }
        areLeftoversDue = true
        let held = Confined(account)
        shard.loop.later { [self] in
            withExtendedLifetime(held) {
                areLeftoversDue = false
                keepLeftovers()
            }
        }
    }

    /// False: there are no more.
    private func keepLeftover() -> Bool {
        guard let delivery = leftovers.popFirst() else { return false }
        let delayed = delivery.stanza.delayed(by: account.address.domain, since: delivery.stamp)
        let envelope = Envelope(delayed, receipt: delivery.receipt)
        delivery.receipt = nil
        keepIfRoom(envelope)
        return true
    }
}
