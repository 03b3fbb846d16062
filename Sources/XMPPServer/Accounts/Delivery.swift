import ModuleKit

/// One stanza for one account on its way to its sessions: done when one of them has it. Confined to the account's loop.
final class Delivery {
    let stanza: Stanza
    /// Held until the stanza is delivered or its row is on disk.
    var receipt: Receipt?
    /// When it came to the account; its delay stamp if it has to wait.
    let stamp: Timestamp
    /// Its row in the spool; 0: none.
    var row: Int64 = 0
    /// A session's queue was written to the spool: the row counts against the account's limit only when it is free.
    var isSpilled = false
    /// Sessions that have it in their queues.
    var holders = 0
    /// A session has it; the others drop it when they end.
    var isDelivered = false
    var queuedAt = Instant(nanoseconds: 0)

    init(_ envelope: Envelope, stamp: Timestamp, row: Int64 = 0) {
        stanza = envelope.stanza
        receipt = envelope.receipt
        self.stamp = stamp
        self.row = row
    }

    var envelope: Envelope { Envelope(stanza, receipt: receipt) }
    /// Somebody is owed its keeping.
    var isStorable: Bool { stanza.kind == .message && stanza.classification.storage == .keep }
}
