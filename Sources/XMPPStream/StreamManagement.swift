public import XMPPCore

/// Stream management of one session, from `<enable/>` on (XEP-0198): both counts, and what to answer when.
///
/// It outlives the connection: `detached()` when that is gone, `resume(_:)` when the client is back. The stanzas
/// themselves are in an `UnackedQueue` beside it.
public struct StreamManagement: Hashable, Sendable {
    public var received: ReceivedLedger
    public var sent = SentLedger()
    public var policy: AckRequestPolicy
    /// What the client was told last.
    private var toldH: UInt32 = 0
    /// The count that the client asked for and has not been told yet.
    private var askedH: UInt32?
    /// The client's last question has got no answer at all yet.
    private var isAnswerDue = false

    public init(policy: AckRequestPolicy = AckRequestPolicy(), openLimit: Int = 1024) {
        self.policy = policy
        received = ReceivedLedger(limit: openLimit)
    }

    public enum ElementResult: Hashable, Sendable {
        /// `<r/>`: send `<a/>` with this `h` at once.
        case answer(h: UInt32)
        /// `<r/>` behind stanzas that are not safe yet: `owedAnswer()` has the answer as soon as they are, and in a
        /// moment `dueAnswer()` in any case.
        case answerSoon
        /// Drop so many of the oldest stanzas in the queue.
        case acked(Int)
        case ignore
        /// Send it and go on.
        case reply(Element)
        case streamError(StreamError)
        /// Not an element of stream management.
        case unknown
    }

    /// An element of `urn:xmpp:sm:3` arrived in the running session.
    ///
    /// - Parameter waiting: stanzas that arrived before it and have not been taken yet.
    public mutating func received(_ element: ElementView, behind waiting: Int = 0) -> ElementResult {
        switch StreamManagementElement(element) {
        case .request:
            guard received.openCount == 0, waiting == 0 else {
                askedH = received.received &+ UInt32(clamping: waiting)
                isAnswerDue = true
                return .answerSoon
            }
            told()
            return .answer(h: toldH)
        case .answer(let h):
            return acknowledge(h)
        case .enable, .resume:
            // XEP-0198 §3: once per stream.
            return .reply(StreamManagementElement.failed(.unexpectedRequest))
        case .malformed:
            // No schema has such a number; going on would mean to guess what the client handled.
            if element.isNamed("a", .streamManagement) { return .streamError(.invalidXML) }
            return .reply(StreamManagementElement.failed(.unexpectedRequest))
        case .unknown:
            return .unknown
        }
    }

    private mutating func acknowledge(_ h: UInt32) -> ElementResult {
        switch sent.acknowledge(h) {
        case .acked(let count): .acked(count)
        case .ignore: .ignore
        case .streamError(let error): .streamError(error)
        }
    }

    /// Before the output is flushed: the `h` of an `<a/>` that the client asked for when it could not be given yet;
    /// nil: nothing is owed or nothing is new.
    public mutating func owedAnswer() -> UInt32? {
        guard let asked = askedH, received.durableH != toldH else { return nil }
        let isAll = Int32(bitPattern: received.durableH &- asked) >= 0
        told()
        if !isAll { askedH = asked }
        return toldH
    }

    /// A moment after a question: the `h` to answer it with if nothing has answered it meanwhile.
    public mutating func dueAnswer() -> UInt32? {
        guard isAnswerDue else { return nil }
        toldH = received.durableH
        isAnswerDue = false
        return toldH
    }

    private mutating func told() {
        (toldH, askedH, isAnswerDue) = (received.durableH, nil, false)
    }

    /// The connection was lost.
    public mutating func detached() {
        (askedH, isAnswerDue) = (nil, false)
        sent.detached()
    }

    /// Whether the `h` of a `<resume/>` is possible; else the error for its stream (XEP-0198 §6). Nothing changes.
    public func check(resumeAt h: UInt32) -> StreamError? {
        var copy = sent
        if case .streamError(let error) = copy.acknowledge(h) { return error }
        return nil
    }

    /// The client is back with the `h` of its `<resume/>`. After `.acked` or `.ignore`: send `<resumed/>` with
    /// `received.durableH`, then what is left in the queue, each counted by `sent.send` once more.
    public mutating func resume(h: UInt32) -> SentLedger.AcknowledgeResult {
        let result = sent.acknowledge(h)
        if case .streamError = result { return result }
        sent.rewind()
        return result
    }

    /// `<resumed/>` goes out with this `h`; the client sends all behind it again.
    public mutating func resumed() -> UInt32 {
        received.rewind()
        told()
        return toldH
    }
}
