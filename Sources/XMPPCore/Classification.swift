internal import XML

/// What a stanza is to those who keep, copy or hold back: worked out once, from its type and payloads alone.
public struct Classification: Hashable, Sendable {
    /// What becomes of a message when nobody is there to take it (XEP-0160 §3).
    public enum Storage: UInt8, Sendable {
        /// It is kept until somebody is.
        case keep
        /// It is dropped in silence: nobody would miss it, or nobody may be told.
        case vanish
        /// Its sender is told.
        case bounce
    }

    /// Never 0, so that 0 can mean "not worked out yet".
    let rawValue: UInt32

    init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    private enum Bit {
        static let known: UInt32 = 1 << 0
        static let body: UInt32 = 1 << 1
        static let chatState: UInt32 = 1 << 2
        static let substance: UInt32 = 1 << 3
        static let receipt: UInt32 = 1 << 4
        static let marker: UInt32 = 1 << 5
        static let noStore: UInt32 = 1 << 6
        static let noPermanentStore: UInt32 = 1 << 7
        static let noCopy: UInt32 = 1 << 8
        static let store: UInt32 = 1 << 9
        static let urgent: UInt32 = 1 << 10
        static let encrypted: UInt32 = 1 << 11
        static let storable: UInt32 = 1 << 12
        static let archivable: UInt32 = 1 << 13
        static let storageShift: UInt32 = 16
    }

    private func has(_ bit: UInt32) -> Bool { rawValue & bit != 0 }

    public var storage: Storage { Storage(rawValue: UInt8(rawValue >> Bit.storageShift & 3)) ?? .bounce }
    /// Worth keeping until the recipient comes.
    public var isStorable: Bool { has(Bit.storable) }
    /// Worth keeping for good.
    public var isArchivable: Bool { has(Bit.archivable) }
    /// A person waits for it: wakes a client that asked to be left alone (XEP-0352), and a phone.
    public var isUrgent: Bool { has(Bit.urgent) }
    /// Says nothing but that somebody is typing, or stopped (XEP-0085).
    public var isChatStateOnly: Bool { has(Bit.chatState) && !has(Bit.substance) }
    /// Tells that a message was received (XEP-0184).
    public var isReceipt: Bool { has(Bit.receipt) }
    /// Tells how far somebody has read (XEP-0333).
    public var isMarker: Bool { has(Bit.marker) }
    public var hasBody: Bool { has(Bit.body) }
    /// Its content is encrypted: a missing body means nothing.
    public var isEncrypted: Bool { has(Bit.encrypted) }
    /// Carries something beside typing notices, hints and stamps.
    public var hasSubstance: Bool { has(Bit.substance) }
    /// `<no-store/>` (XEP-0334): neither for a while nor for good.
    public var forbidsStore: Bool { has(Bit.noStore) }
    /// `<no-permanent-store/>`: not for good.
    public var forbidsPermanentStore: Bool { has(Bit.noPermanentStore) }
    /// `<no-copy/>`: only to the resource it is addressed to.
    public var forbidsCopies: Bool { has(Bit.noCopy) }
    /// `<store/>`: keep it though it looks as if nobody would miss it.
    public var asksForStore: Bool { has(Bit.store) }

    init(of stanza: Stanza) {
        if let notice = stanza.notice {
            let urgency = notice == .urgent ? Bit.urgent : 0
            self.init(rawValue: Self.combine(Bit.noStore | Bit.noCopy | urgency, .vanish))
            return
        }
        switch stanza.kind {
        case .message:
            var bits: UInt32 = 0
            for child in stanza.root.children {
                bits |= Self.facts(child.namespace, child.namespace == stanza.root.namespace) { child.isNamed($0) }
            }
            for element in stanza.appended {
                let namespace = Namespace.known(element.namespace)
                bits |= Self.facts(namespace, namespace == stanza.root.namespace) { element.name == $0.description }
            }
            self.init(rawValue: Self.decide(bits, stanza.type))
        case .presence:
            let isRequest = stanza.type == .subscribe
            self.init(rawValue: Self.combine(isRequest ? Bit.urgent : 0, .vanish))
        case .iq:
            self.init(rawValue: Self.combine(Bit.urgent, stanza.isRequest ? .bounce : .vanish))
        }
    }

    /// What one payload says.
    private static func facts(
        _ namespace: Namespace?, _ isOwn: Bool, _ isNamed: (StaticString) -> Bool
    ) -> UInt32 {
        if isOwn {
            if isNamed("body") { return Bit.body | Bit.substance | Bit.urgent }
            return isNamed("thread") ? 0 : Bit.substance
        }
        guard let namespace else { return Bit.substance }
        switch namespace {
        case .chatStates:
            return Bit.chatState
        case .hints:
            if isNamed("no-store") { return Bit.noStore }
            if isNamed("no-permanent-store") { return Bit.noPermanentStore }
            if isNamed("no-copy") { return Bit.noCopy }
            return isNamed("store") ? Bit.store : 0
        case .receipts:
            return isNamed("received") ? Bit.receipt | Bit.substance : 0
        case .chatMarkers:
            return isNamed("markable") ? 0 : Bit.marker | Bit.substance
        case .axolotl, .omemo, .openPGP:
            return Bit.encrypted | Bit.substance | Bit.urgent
        case .conference, .jingleMessage:
            return Bit.substance | Bit.urgent
        case .mucUser:
            return Bit.substance
        case .delay, .legacyDelay, .stanzaID, .occupantID, .nick, .encryption, .fallback, .addresses, .idle, .caps:
            return 0
        default:
            return Bit.substance
        }
    }

    private static func decide(_ facts: UInt32, _ type: Stanza.StanzaType) -> UInt32 {
        var bits = facts
        switch type {
        case .groupchat:
            // To a bare address or an absent resource it is a mistake (RFC 6121 §8.5.2.1.1, §8.5.3.2.1).
            return combine(bits, .bounce)
        case .headline:
            return combine(bits & ~Bit.urgent, .vanish)
        case .error:
            return combine(bits, .vanish)
        default:
            break
        }
        let wanted = bits & (Bit.substance | Bit.store) != 0
        if !wanted { return combine(bits, .vanish) }
        // Even with a body: an error would tell a stranger that nobody is there.
        if bits & Bit.noStore != 0 { return combine(bits, .vanish) }
        bits |= Bit.storable
        if bits & Bit.noPermanentStore == 0 { bits |= Bit.archivable }
        return combine(bits, .keep)
    }

    private static func combine(_ bits: UInt32, _ storage: Storage) -> UInt32 {
        bits | Bit.known | UInt32(storage.rawValue) << Bit.storageShift
    }
}
