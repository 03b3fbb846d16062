import ModuleKit
import Testing

@testable import Roster

/// RFC 6121 Appendix A, row by row.
@Suite struct SubscriptionTableTests {
    /// The nine states of §A.1.
    enum State: String, CaseIterable {
        case none = "None"
        case noneOut = "None + Pending Out"
        case noneIn = "None + Pending In"
        case noneOutIn = "None + Pending Out+In"
        case to = "To"
        case toIn = "To + Pending In"
        case from = "From"
        case fromOut = "From + Pending Out"
        case both = "Both"

        init?(_ item: RosterItem) {
            let isIn = item.request != nil
            switch (item.subscription, item.isAsking, isIn) {
            case (.none, false, false): self = .none
            case (.none, true, false): self = .noneOut
            case (.none, false, true): self = .noneIn
            case (.none, true, true): self = .noneOutIn
            case (.to, false, false): self = .to
            case (.to, false, true): self = .toIn
            case (.from, false, false): self = .from
            case (.from, true, false): self = .fromOut
            case (.both, false, false): self = .both
            default: return nil
            }
        }

        var item: RosterItem {
            var item = RosterItem(BareJID(canonicalLocal: "juliet", domain: "example.org"))
            item.subscription =
                switch self {
                case .none, .noneOut, .noneIn, .noneOutIn: .none
                case .to, .toIn: .to
                case .from, .fromOut: .from
                case .both: .both
                }
            item.isAsking = [.noneOut, .noneOutIn, .fromOut].contains(self)
            item.request = [.noneIn, .noneOutIn, .toIn].contains(self) ? Array("<presence/>".utf8) : nil
            return item
        }
    }

    struct Row {
        var type: Stanza.StanzaType
        var direction: SubscriptionDirection
        /// Each state with what becomes of it; nil: it is not passed on, and nothing changes.
        var states: [(State, State?)]
    }

    static let table: [Row] = [
        // §A.2.1: routed in every state.
        Row(
            type: .subscribe, direction: .outbound,
            states: [
                (.none, .noneOut), (.noneOut, .noneOut), (.noneIn, .noneOutIn), (.noneOutIn, .noneOutIn), (.to, .to),
                (.toIn, .toIn), (.from, .fromOut), (.fromOut, .fromOut), (.both, .both),
            ]),
        // §A.2.2: likewise.
        Row(
            type: .unsubscribe, direction: .outbound,
            states: [
                (.none, State.none), (.noneOut, State.none), (.noneIn, .noneIn), (.noneOutIn, .noneIn),
                (.to, State.none), (.toIn, .noneIn), (.from, .from), (.fromOut, .from), (.both, .from),
            ]),
        // §A.2.3.
        Row(
            type: .subscribed, direction: .outbound,
            states: [
                (.none, nil), (.noneOut, nil), (.noneIn, .from), (.noneOutIn, .fromOut), (.to, nil), (.toIn, .both),
                (.from, nil), (.fromOut, nil), (.both, nil),
            ]),
        // §A.2.4.
        Row(
            type: .unsubscribed, direction: .outbound,
            states: [
                (.none, nil), (.noneOut, nil), (.noneIn, State.none), (.noneOutIn, .noneOut), (.to, nil), (.toIn, .to),
                (.from, State.none), (.fromOut, .noneOut), (.both, .to),
            ]),
        // §A.3.1.
        Row(
            type: .subscribe, direction: .inbound,
            states: [
                (.none, .noneIn), (.noneOut, .noneOutIn), (.noneIn, nil), (.noneOutIn, nil), (.to, .toIn), (.toIn, nil),
                (.from, nil), (.fromOut, nil), (.both, nil),
            ]),
        // §A.3.2.
        Row(
            type: .unsubscribe, direction: .inbound,
            states: [
                (.none, nil), (.noneOut, nil), (.noneIn, State.none), (.noneOutIn, .noneOut), (.to, nil), (.toIn, .to),
                (.from, State.none), (.fromOut, .noneOut), (.both, .to),
            ]),
        // §A.3.3.
        Row(
            type: .subscribed, direction: .inbound,
            states: [
                (.none, nil), (.noneOut, .to), (.noneIn, nil), (.noneOutIn, .toIn), (.to, nil), (.toIn, nil),
                (.from, nil), (.fromOut, .both), (.both, nil),
            ]),
        // §A.3.4.
        Row(
            type: .unsubscribed, direction: .inbound,
            states: [
                (.none, nil), (.noneOut, State.none), (.noneIn, nil), (.noneOutIn, .noneIn), (.to, State.none),
                (.toIn, .noneIn), (.from, nil), (.fromOut, .from), (.both, .from),
            ]),
    ]

    private func apply(_ row: Row, _ state: State) -> SubscriptionTable.Outcome {
        SubscriptionTable.apply(row.type, row.direction, to: state.item, stanza: Array("<presence/>".utf8))
    }

    @Test(arguments: 0..<8) func `each state goes where the appendix says`(_ index: Int) throws {
        let row = Self.table[index]
        #expect(Set(row.states.map(\.0)) == Set(State.allCases))
        for (state, next) in row.states {
            let outcome = apply(row, state)
            #expect(outcome.effect.contains(.deliver) == (next != nil), "\(row.direction) \(row.type) in \(state)")
            // §3.4: approving what was not asked for is remembered, and no other difference.
            var item = outcome.item
            item.isApproved = false
            #expect(State(item) == next ?? state, "\(row.direction) \(row.type) in \(state)")
        }
    }

    @Test(arguments: [State.none, .noneOut, .to]) func `what is approved before it is asked for is granted at once`(
        _ state: State
    ) {
        let approved = SubscriptionTable.apply(.subscribed, .outbound, to: state.item, stanza: [])
        #expect(approved.item.isApproved)
        #expect(approved.effect == [])
        let asked = SubscriptionTable.apply(.subscribe, .inbound, to: approved.item, stanza: [1])
        #expect(asked.effect == .approve)
        let granted = SubscriptionTable.apply(.subscribed, .outbound, to: asked.item, stanza: [])
        #expect(granted.item.subscription.hasFrom)
        #expect(granted.item.request == nil)
        #expect(granted.effect == [.deliver, .sendPresence])
    }

    @Test(arguments: [State.from, .fromOut, .both, .noneIn, .toIn, .noneOutIn])
    func `who sees us or has asked needs no approval ahead`(_ state: State) {
        #expect(!SubscriptionTable.apply(.subscribed, .outbound, to: state.item, stanza: []).item.isApproved)
    }

    @Test func `an approval ahead is taken back, and the contact hears nothing of it`() {
        let approved = SubscriptionTable.apply(.subscribed, .outbound, to: State.to.item, stanza: [])
        let back = SubscriptionTable.apply(.unsubscribed, .outbound, to: approved.item, stanza: [])
        #expect(back.item == State.to.item)
        #expect(back.effect == [])
    }

    @Test(arguments: [State.from, .fromOut, .both]) func `who asks again is told so for the account`(_ state: State) {
        let outcome = SubscriptionTable.apply(.subscribe, .inbound, to: state.item, stanza: [1])
        #expect(outcome.effect == .answerSubscribed)
        #expect(outcome.item == state.item)
    }

    @Test func `whoever may not see us any more sees us go`() {
        for state in [State.from, .fromOut, .both] {
            for direction in [SubscriptionDirection.outbound, .inbound] {
                let type: Stanza.StanzaType = direction == .outbound ? .unsubscribed : .unsubscribe
                let outcome = SubscriptionTable.apply(type, direction, to: state.item, stanza: [])
                #expect(outcome.effect == [.deliver, .sendUnavailable])
            }
        }
    }

    @Test func `a row of the store is read as it was written`() {
        var item = State.toIn.item
        item.name = "J. \u{1F339}"
        item.groups = ["Capulets", "Friends & foes"]
        item.isApproved = true
        item.isHidden = true
        item.revision = 4711
        #expect(RosterItem(item.contact, read: item.stored) == item)
        #expect(RosterItem(item.contact, read: []) == nil)
        #expect(RosterItem(item.contact, read: Array("a\0both\0\09999999\0".utf8)) == nil)
    }
}

extension RosterItem {
    init?(_ contact: BareJID, read bytes: [UInt8]) {
        guard let item = bytes.withUnsafeBufferPointer({ RosterItem(contact, stored: $0) }) else { return nil }
        self = item
    }
}
