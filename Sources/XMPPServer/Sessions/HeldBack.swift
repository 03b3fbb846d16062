import ModuleKit

/// What waits for a client that wants to be left alone, oldest first. Nobody is owed the keeping of any of it.
final class HeldBack {
    struct Held {
        let delivery: Delivery
        /// As the modules let it through.
        let stanza: Stanza
        /// A newer one takes its place.
        let isReplaceable: Bool
    }

    var policy: HoldingPolicy
    private var held: [Held] = []
    private var bytes = 0

    init(_ policy: HoldingPolicy) {
        self.policy = policy
    }

    var isFull: Bool { held.count >= policy.stanzas || bytes >= policy.bytes }

    /// False: it goes now, behind all that waits.
    func hold(_ delivery: Delivery, _ stanza: Stanza) -> Bool {
        guard !delivery.isStorable, delivery.row == 0 else { return false }
        let patience = policy.patience(stanza)
        guard patience != .none else { return false }
        if patience == .forLastOnly { removeOlder(than: stanza) }
        held.append(Held(delivery: delivery, stanza: stanza, isReplaceable: patience == .forLastOnly))
        bytes += stanza.byteCount
        return true
    }

    func removeAll() -> [Held] {
        defer { (held, bytes) = ([], 0) }
        return held
    }

    private func removeOlder(than stanza: Stanza) {
        let index = held.firstIndex { older in
            older.isReplaceable && older.stanza.kind == stanza.kind && older.stanza.from == stanza.from
                && (stanza.kind == .presence || older.stanza.type == stanza.type)
        }
        if let index { bytes -= held.remove(at: index).stanza.byteCount }
    }
}

extension ClientSession {
    func holdBack(_ policy: HoldingPolicy?) {
        guard let policy, isConnected else {
            releaseHeld()
            heldBack = nil
            return
        }
        if let heldBack { heldBack.policy = policy } else { heldBack = HeldBack(policy) }
    }

    /// True: the stanza waits. False: it goes, and all that waited has gone before it.
    func waits(_ delivery: Delivery, _ stanza: Stanza, in heldBack: HeldBack) -> Bool {
        let waits = heldBack.hold(delivery, stanza)
        if !waits || heldBack.isFull { releaseHeld() }
        return waits
    }

    private func releaseHeld() {
        for held in heldBack?.removeAll() ?? [] {
            guard !hasEnded else { return }
            put(held.delivery, late(held.stanza, held.delivery))
        }
    }
}
