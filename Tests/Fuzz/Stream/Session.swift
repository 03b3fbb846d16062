import FuzzSupport
import StreamFraming
import XMPPCore
import XMPPStream

/// A session that sends every stanza back to its client, with stream management if the client enables it.
final class Session {
    private let address: JID
    private let framing: any Framing
    private let output: OutputBuffer
    private let addresses = AddressCache()
    private var management: StreamManagement?
    private var queue = UnackedQueue<Stanza>(maxCount: 64, maxBytes: 1 << 20)
    /// Numbers of stanzas that are not safe yet.
    private var open: [UInt64] = []

    init(_ address: JID, _ framing: any Framing, _ output: OutputBuffer) {
        (self.address, self.framing, self.output) = (address, framing, output)
    }

    /// As if three stanzas had been sent and two received.
    func resume(_ request: ResumeRequest) -> StreamError? {
        var management = StreamManagement(policy: AckRequestPolicy(stanzas: 2), openLimit: 4)
        management.sent = SentLedger(resumingAt: 3)
        for _ in 0..<2 { _ = management.received.close(management.received.receive()) }
        if case .streamError(let error) = management.resume(h: request.h) {
            check(request.h != 3, "what was sent may be acknowledged")
            return error
        }
        check(request.h <= 3, "what was never sent is not acknowledged")
        self.management = management
        write(StreamManagementElement.resumed(previd: request.previd, h: management.received.durableH))
        return nil
    }

    func received(_ tree: XMLTree) -> StreamError? {
        guard tree.root.namespace == .streamManagement else { return handle(tree) }
        guard var management else { return enable(tree) }
        let result = management.received(tree.root)
        self.management = management
        switch result {
        case .answer(let h): write(StreamManagementElement.answerElement(h: h))
        case .acked(let count):
            check(count <= queue.count, "no more is acknowledged than was sent")
            queue.removeFirst(count)
        case .reply(let element): write(element)
        case .streamError(let error): return error
        case .unknown: return .unsupportedStanzaType
        case .answerSoon, .ignore: break
        }
        checkCounts()
        return nil
    }

    private func enable(_ tree: XMLTree) -> StreamError? {
        switch StreamManagementElement(tree.root) {
        case .enable(let resume, let max):
            management = StreamManagement(policy: AckRequestPolicy(stanzas: 2), openLimit: 4)
            write(StreamManagementElement.enabled(id: resume ? "id" : nil, max: max))
        case .malformed(let condition): write(StreamManagementElement.failed(condition))
        case .resume, .request, .answer: write(StreamManagementElement.failed(.unexpectedRequest))
        case .unknown: return .unsupportedStanzaType
        }
        return nil
    }

    private func handle(_ tree: XMLTree) -> StreamError? {
        guard Stanza.kind(of: tree) != nil, tree.root.namespace == .client else { return .unsupportedStanzaType }
        let number = management?.received.receive()
        do throws(StanzaError) {
            let stanza = try Stanza(tree, from: address, addresses: addresses)
            check(stanza.from == address, "a stanza is from who sent it")
            _ = (stanza.classification, stanza.error, stanza.namespaces)
            send(stanza.with(to: address))
            // What somebody keeps is safe later.
            if stanza.classification.isStorable, let number {
                open.append(number)
            } else if let number {
                _ = management?.received.close(number)
            }
        } catch {
            if let number { _ = management?.received.close(number) }
            if let answer = Stanza.rejection(of: tree, because: error) { send(answer.with(from: nil, to: address)) }
        }
        if open.count > 2 { closeNewest() }
        checkCounts()
        return nil
    }

    private func send(_ stanza: Stanza) {
        framing.write(stanza, to: address, into: output)
        guard var management else { return }
        _ = queue.append(stanza, bytes: stanza.byteCount)
        if management.sent.send(management.policy) { write(StreamManagementElement.requestElement) }
        self.management = management
    }

    /// Out of order, as disks and other clients do it.
    private func closeNewest() {
        while let number = open.popLast() { _ = management?.received.close(number) }
        if let h = management?.owedAnswer() { write(StreamManagementElement.answerElement(h: h)) }
        check(management?.received.openCount ?? 0 == 0, "what is closed is closed")
    }

    private func write(_ element: Element) {
        framing.write(element, into: output)
    }

    private func checkCounts() {
        guard let management else { return }
        // One that is not safe holds up all behind it.
        let held = open.first.map { Int(management.received.received &- UInt32(truncatingIfNeeded: $0)) } ?? 0
        check(management.received.openCount == held, "all before the first open stanza is safe, and no more")
        check(management.sent.outstanding == queue.count, "every stanza is acknowledged or in the queue")
        check(management.received.durableH <= management.received.received, "nothing is safe before it has come")
    }
}
