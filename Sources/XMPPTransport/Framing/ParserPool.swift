internal import XML

/// The parsers of one event loop: a stream borrows one while it has bytes to read.
///
/// An idle parser costs 11 KB and more, an idle stream must not. Parsers wait primed with the root of the streams that
/// they served; one with the same root takes it up at no cost.
public final class ParserPool {
    /// Most parsers that wait.
    private let capacity: Int
    /// Most different roots that are remembered; streams with further ones get a new parser each time.
    private static let maxPrologues = 256
    /// A longer root is nobody else's.
    private static let maxPrologueBytes = 1024

    /// The one used last stands last.
    private var idle: [XMLPushParser] = []
    /// As new.
    private var blank: [XMLPushParser] = []
    private var prologues: Set<XMLPrologue> = []

    public init(capacity: Int = 16) {
        self.capacity = capacity
    }

    /// Parsers that wait.
    public var idleCount: Int { idle.count }

    /// A parser for a stream that has not been opened.
    func makeParser(_ limits: XMLLimits) -> XMLPushParser {
        guard let parser = blank.popLast() else { return XMLPushParser(limits: limits) }
        parser.limits = limits
        return parser
    }

    /// Takes back a parser whose stream is over.
    func recycle(_ parser: XMLPushParser) {
        if blank.count < capacity, parser.reset() { blank.append(parser) }
    }

    /// A parser that reads on where a stream rested.
    func take(_ prologue: XMLPrologue, _ limits: XMLLimits) -> XMLPushParser {
        if let index = idle.lastIndex(where: { $0.isPrimed(with: prologue) }) {
            let parser = idle.remove(at: index)
            parser.limits = limits
            return parser
        }
        let parser = makeParser(limits)
        parser.prime(prologue)
        return parser
    }

    /// Keeps a parser that is at rest for the next stream with that prologue.
    func give(back parser: XMLPushParser, _ prologue: XMLPrologue) {
        guard capacity > 0, !parser.isWorn, prologue.count <= Self.maxPrologueBytes else { return }
        parser.adopt(prologue)
        if idle.count >= capacity { recycle(idle.removeFirst()) }
        idle.append(parser)
    }

    /// The object that stands for all equal prologues.
    func share(_ prologue: XMLPrologue) -> XMLPrologue {
        if let index = prologues.firstIndex(of: prologue) { return prologues[index] }
        guard prologue.count <= Self.maxPrologueBytes else { return prologue }
        if prologues.count >= Self.maxPrologues {
            // Forget them all: streams keep their own, and the common ones come back at once.
            prologues.removeAll()
            idle.removeAll()
        }
        prologues.insert(prologue)
        return prologue
    }
}
