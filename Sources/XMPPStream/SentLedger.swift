public import XMPPCore

/// When to ask a client what it has handled.
public struct AckRequestPolicy: Hashable, Sendable {
    /// Behind that many stanzas since the last question, whatever else is going on.
    public var stanzas: Int
    /// At the end of a burst, when nothing is asked and something is not acknowledged.
    public var atEndOfBurst: Bool

    public init(stanzas: Int = 25, atEndOfBurst: Bool = true) {
        self.stanzas = max(1, stanzas)
        self.atEndOfBurst = atEndOfBurst
    }
}

/// What was sent to a client and what of it has been acknowledged (XEP-0198 §4).
public struct SentLedger: Hashable, Sendable {
    private var sentCount: UInt64 = 0
    private var acknowledgedCount: UInt64 = 0
    private var sinceRequest: UInt32 = 0
    private var isAsked = false

    public init() {}

    /// A session whose stanzas up to `count` were all acknowledged.
    public init(resumingAt count: UInt64) {
        sentCount = count
        acknowledgedCount = count
    }

    /// All stanzas sent, modulo 2^32.
    public var sent: UInt32 { UInt32(truncatingIfNeeded: sentCount) }
    /// The last count that the client acknowledged.
    public var acknowledged: UInt32 { UInt32(truncatingIfNeeded: acknowledgedCount) }
    /// Sent and not acknowledged.
    public var outstanding: Int { Int(truncatingIfNeeded: sentCount - acknowledgedCount) }
    /// A question of ours is not answered yet.
    public var awaitsAnswer: Bool { isAsked }

    /// A stanza is sent. True: `<r/>` has to follow it.
    public mutating func send(_ policy: AckRequestPolicy) -> Bool {
        sentCount += 1
        sinceRequest &+= 1
        guard Int(sinceRequest) >= policy.stanzas else { return false }
        requested()
        return true
    }

    /// The burst is over. True: `<r/>` has to follow it.
    public mutating func burstEnded(_ policy: AckRequestPolicy) -> Bool {
        guard policy.atEndOfBurst, !isAsked, sinceRequest > 0 else { return false }
        requested()
        return true
    }

    /// An `<r/>` was sent for another reason, such as to see whether the client is alive.
    public mutating func requested() {
        sinceRequest = 0
        isAsked = true
    }

    /// The connection was lost: no answer will come to what was asked on it.
    public mutating func detached() {
        isAsked = false
        sinceRequest = UInt32(clamping: outstanding)
    }

    /// What is not acknowledged will be sent once more, and counts from then on.
    public mutating func rewind() {
        sentCount = acknowledgedCount
        sinceRequest = 0
        isAsked = false
    }

    public enum AcknowledgeResult: Hashable, Sendable {
        /// So many of the oldest stanzas arrived.
        case acked(Int)
        /// Nothing new, or older than what was acknowledged before.
        case ignore
        /// More than was sent.
        case streamError(StreamError)
    }

    /// The client has handled `h` stanzas, modulo 2^32.
    public mutating func acknowledge(_ h: UInt32) -> AcknowledgeResult {
        let ahead = h &- acknowledged
        if UInt64(ahead) <= sentCount - acknowledgedCount {
            isAsked = false
            guard ahead > 0 else { return .ignore }
            acknowledgedCount += UInt64(ahead)
            return .acked(Int(ahead))
        }
        // Behind: an answer that was overtaken. Anything else was never sent.
        let behind = acknowledged &- h
        if behind < ahead, UInt64(behind) <= acknowledgedCount { return .ignore }
        return .streamError(Self.tooHigh(h: h, sent: sent))
    }

    /// XEP-0198 §6.
    private static func tooHigh(h: UInt32, sent: UInt32) -> StreamError {
        var detail = Element("handled-count-too-high", .streamManagement)
        detail[attribute: "h"] = String(h)
        detail[attribute: "send-count"] = String(sent)
        return StreamError(.undefinedCondition, details: [detail])
    }
}
