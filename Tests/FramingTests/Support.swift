import XMPPCore
import XMPPTransport

/// What a framing reported, in a form that can be compared.
enum Seen: Equatable, CustomStringConvertible {
    case opened(StreamHeader)
    case element(String)
    case closed
    case failed(StreamError)

    init(_ event: StreamEvent) {
        switch event {
        case .opened(let header): self = .opened(header)
        case .element(let tree): self = .element(tree.description)
        case .closed: self = .closed
        case .failed(let error): self = .failed(error)
        }
    }

    var description: String {
        switch self {
        case .opened(let header): "opened \(header)"
        case .element(let text): text
        case .closed: "closed"
        case .failed(let error): "failed \(error.condition)"
        }
    }

    var failure: StreamError.Condition? {
        if case .failed(let error) = self { error.condition } else { nil }
    }
}

let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org'>"
let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>"

extension Framing {
    func see(_ text: String, _ answer: Directive = .proceed) -> [Seen] {
        see(Array(text.utf8), answer)
    }

    func see(_ bytes: [UInt8], _ answer: Directive = .proceed) -> [Seen] {
        var seen: [Seen] = []
        feed(bytes) { event in
            seen.append(Seen(event))
            return answer
        }
        return seen
    }

    func seeResumed(_ answer: Directive = .proceed) -> [Seen] {
        var seen: [Seen] = []
        resume { event in
            seen.append(Seen(event))
            return answer
        }
        return seen
    }
}

/// What is written, as text.
func written(_ body: (OutputBuffer) -> Void) -> String {
    let output = OutputBuffer()
    body(output)
    return output.description
}

/// The tree that a text is.
func tree(_ text: String) -> XMLTree {
    let framing = MessageFraming(pool: ParserPool(), limits: .authenticated)
    var found: XMLTree?
    framing.feed(Array(open.utf8)) { _ in .proceed }
    framing.feed(Array(text.utf8)) { event in
        if case .element(let tree) = event { found = tree }
        return .proceed
    }
    return found ?? XMLTree(Element("unreadable", .client))
}

/// Random numbers that are the same in every run.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
