internal import ModuleKit
internal import XMPPCore

/// Large stanzas that the connections of one loop are sent: each is rendered once for all of them, and one turn copies
/// so much of them and no more. The rest waits for the next turn, behind the sockets. Confined to the loop.
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

/// An entry of those that a connection writes in a later turn, behind the bytes that it has rendered.
enum LateOutput {
    case stanza(RenderedStanza, Receipt?)
    /// Small things that were sent behind such a stanza.
    case output(Output)

    var byteCount: Int {
        switch self {
        case .stanza(let rendered, _): rendered.byteCount
        case .output(let output): output.byteCount
        }
    }

    var receipts: [Receipt] {
        switch self {
        case .stanza(_, let receipt): receipt.map { [$0] } ?? []
        case .output(let output): output.receipts
        }
    }
}

extension Connection {
    /// Writes a large stanza, or puts it off: what is sent to this connection afterwards comes behind it.
    func sendLarge(_ stanza: Stanza, receipt: Receipt?) {
        // Not the output behind what was put off: this one goes behind that by itself.
        guard let output = output ?? outputForSending() else { return keepForEnd(receipt) }
        let resources = nioLoop.resources
        let rendered = resources.large.rendered(stanza, framing)
        if !output.late.isEmpty || phase == .open && moveTarget == nil && resources.large.isSpent {
            return output.late.append(.stanza(rendered ?? framing.render(stanza), receipt))
        }
        resources.large.spend(stanza.tree.byteCount)
        if let rendered {
            framing.write(rendered, to: nil, into: output.bytes)
        } else {
            framing.write(stanza, into: output.bytes)
        }
        if let receipt { output.receipts.append(receipt) }
    }

    /// The output behind all that was put off.
    func outputBehindLate(_ output: Output) -> Output {
        if case .output(let last) = output.late.last { return last }
        let last = nioLoop.resources.takeOutput()
        output.late.append(.output(last))
        return last
    }

    /// Renders what was put off, as much of it as the turn has a share for.
    func renderLate(_ output: Output) {
        var count = 0
        for entry in output.late {
            if case .stanza = entry, nioLoop.resources.large.isSpent { break }
            count += 1
            switch entry {
            case .stanza(let rendered, _):
                nioLoop.resources.large.spend(rendered.byteCount)
                framing.write(rendered, to: nil, into: output.bytes)
            case .output(let other):
                other.bytes.withBytes { output.bytes.append($0) }
            }
            output.receipts += entry.receipts
            if case .output(let other) = entry { nioLoop.resources.giveBack(other) }
        }
        output.late.removeFirst(count)
    }
}
