internal import ModuleKit
internal import XMPPCore

/// Large stanzas that the connections of one loop are sent: each is rendered once for all of them, and one turn copies
/// so much of them and no more. What is beyond that waits for the next turn, behind the sockets. Confined to the loop.
struct LargeStanzas {
    /// From so many bytes on it is worth keeping what was rendered, for the next recipient.
    static let size = 8 * 1024
    /// Bytes that one turn copies and gives to the kernel: about a millisecond, with TLS two.
    private static let share = 1 << 20

    private var last: Stanza?
    private var lastRendered: RenderedStanza?
    private var spent = 0

    /// This turn has had its share.
    var isSpent: Bool { spent >= Self.share }

    mutating func spend(_ bytes: Int) {
        spent += bytes
    }

    /// Nil: no connection before this one was sent it. All framings of a loop's connections are of one kind.
    mutating func rendered(_ stanza: Stanza, _ framing: TCPStreamFraming) -> RenderedStanza? {
        guard last === stanza else {
            (last, lastRendered) = (stanza, nil)
            return nil
        }
        let rendered = lastRendered ?? framing.render(stanza)
        lastRendered = rendered
        return rendered
    }

    /// The turn is over: nothing of it is kept.
    mutating func endTurn() {
        spent = 0
        if last != nil { (last, lastRendered) = (nil, nil) }
    }
}

/// Stanzas that a connection renders in a later turn, oldest first.
struct LateStanzas {
    struct Entry {
        let rendered: RenderedStanza
        let receipt: Receipt?
    }

    var entries: [Entry] = []
    private(set) var bytes = 0

    var isEmpty: Bool { entries.isEmpty }

    mutating func append(_ rendered: RenderedStanza, _ receipt: Receipt?) {
        entries.append(Entry(rendered: rendered, receipt: receipt))
        bytes += rendered.byteCount
    }

    mutating func popFirst() -> Entry? {
        guard !entries.isEmpty else { return nil }
        let entry = entries.removeFirst()
        bytes -= entry.rendered.byteCount
        return entry
    }
}

extension Connection {
    /// Writes a large stanza, or puts it off: whatever is sent to this connection afterwards comes behind it.
    func sendLarge(_ stanza: Stanza, receipt: Receipt?) {
        guard let output = outputForSending(late: true) else { return keepForEnd(receipt) }
        let resources = nioLoop.resources
        let rendered = resources.large.rendered(stanza, framing)
        if phase == .open, moveTarget == nil, !output.late.isEmpty || resources.large.isSpent {
            return output.late.append(rendered ?? framing.render(stanza), receipt)
        }
        resources.large.spend(stanza.tree.byteCount)
        if let rendered {
            framing.write(rendered, to: nil, into: output.bytes)
        } else {
            framing.write(stanza, into: output.bytes)
        }
        if let receipt { output.receipts.append(receipt) }
    }

    /// Renders what was put off.
    ///
    /// - Parameter isEverything: even if the turn has had its share.
    func renderLate(_ output: Output, isEverything: Bool) {
        while isEverything || !nioLoop.resources.large.isSpent, let entry = output.late.popFirst() {
            nioLoop.resources.large.spend(entry.rendered.byteCount)
            framing.write(entry.rendered, to: nil, into: output.bytes)
            if let receipt = entry.receipt { output.receipts.append(receipt) }
        }
    }
}
