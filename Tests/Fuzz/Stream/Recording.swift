import FuzzSupport
import StreamFraming
import XMPPCore

/// The events of a stream, with nobody behind it but somebody who pauses, stops or restarts it once.
final class Recording {
    private let setting: Setting
    private let framing: any Framing
    private let pool = ParserPool()
    private var events: [String] = []
    private var hasEnded = false
    private var failure: StreamError?
    private var isPaused = false
    private var isStopped = false
    /// Behind the event that was answered with `.stop`.
    private var leftover: [UInt8] = []

    init(_ pieces: [ArraySlice<UInt8>], _ setting: Setting) {
        self.setting = setting
        framing = setting.framing(pool, limits: setting.limits)
        let neighbour = setting.sharesParser ? Neighbour(pool) : nil
        for piece in pieces {
            guard !isStopped else {
                leftover += piece
                continue
            }
            let before = events.count
            let wasOver = hasEnded
            framing.feed(Array(piece)) { take($0) }
            while isPaused {
                isPaused = false
                let before = events.count
                framing.feed([]) { take($0) }
                check(events.count == before || setting.isMessageBased, "nothing comes while paused")
                framing.resume { take($0) }
            }
            check(!wasOver || events.count == before, "nothing comes after the end")
            if isStopped { leftover = framing.takeLeftover() }
            guard let neighbour else { continue }
            framing.rest()
            neighbour.talk()
        }
        if hasEnded { framing.feed(Array(" <late/>".utf8)) { take($0) } }
    }

    private func take(_ event: StreamEvent) -> Directive {
        check(!hasEnded, "nothing comes after the end")
        switch event {
        case .opened(let header): events.append("\(header)")
        case .element(let tree):
            check(tree, framing.limits)
            events.append(tree.description)
        case .closed:
            events.append("closed")
            hasEnded = true
        case .failed(let error):
            hasEnded = true
            failure = error
        }
        guard !hasEnded, events.count == setting.interference.event + 1 else { return .proceed }
        switch setting.interference.kind {
        case 1:
            isPaused = true
            return .pause
        case 2:
            isStopped = true
            return .stop
        case 3:
            framing.restart()
            return .proceed
        default: return .proceed
        }
    }

    /// Cut in pieces it has the same events, and fails where the whole does: later, when the end of the tag that is wrong
    /// has come, or sooner, as a document type does that is cut in its first letters.
    func checkIsLike(_ whole: Recording) {
        check(events == whole.events, "pieces: \(events) is not \(whole.events)")
        check(leftover == whole.leftover, "pieces leave over what the whole does")
        guard let failure, whole.failure == nil else { return }
        whole.framing.feed(Array(" >\">'>".utf8)) { whole.take($0) }
        check(whole.failure != nil, "pieces fail by \(failure), the whole does not")
    }

    private func check(_ tree: XMLTree, _ limits: XMLLimits) {
        var elements = 0
        func look(_ element: ElementView, _ depth: Int) {
            elements += 1
            FuzzSupport.check(depth <= limits.maxDepth, "depth is bounded")
            FuzzSupport.check(element.attributeCount <= limits.maxAttributes, "attributes are bounded")
            for child in element.children { look(child, depth + 1) }
        }
        look(tree.root, 1)
        FuzzSupport.check(elements <= limits.maxElements, "elements are bounded")
        // A node costs at most what its shortest text does: 4 bytes are an element.
        let most = Int(limits.maxElementBytes + limits.maxTokenBytes) * 16 + 256
        FuzzSupport.check(tree.byteCount <= most, "a tree of \(tree.byteCount) bytes is bounded")
    }

    private func check(_ holds: Bool, _ rule: @autoclosure () -> String) {
        FuzzSupport.check(holds, rule())
    }
}

/// A stream with the usual root that uses the same parsers in between: nothing of the other may show in it.
private final class Neighbour {
    private let framing: TCPStreamFraming
    private var count = 0

    init(_ pool: ParserPool) {
        framing = TCPStreamFraming(pool: pool, limits: .authenticated)
        let root =
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
            + "to='example.net' version='1.0'>"
        framing.feed(Array(root.utf8)) { event in
            guard case .opened = event else { fail("the neighbour's stream opens: \(event)") }
            return .proceed
        }
        framing.rest()
    }

    func talk() {
        var isHeard = false
        framing.feed(Array("<message id='\(count)'/>".utf8)) { event in
            guard case .element(let tree) = event, tree.description == "<message xmlns='jabber:client' id='\(count)'/>"
            else { fail("the neighbour's message is as it was sent: \(event)") }
            isHeard = true
            return .proceed
        }
        check(isHeard, "the neighbour is heard")
        framing.rest()
        count += 1
    }
}
