/// Reads whole documents, such as stanzas that were stored: one parser for many of them. Not shared between threads.
public final class XMLDocumentReader {
    private let limits: XMLLimits
    private var parser: XMLPushParser?

    public init(limits: XMLLimits = .stored) {
        self.limits = limits
    }

    /// The one element that `bytes` are, but for white space around it; no XML declaration.
    public func read(_ bytes: UnsafeRawBufferPointer) throws(XMLFault) -> XMLTree {
        let parser = self.parser ?? XMLPushParser(limits: limits, resuming: .standalone)
        self.parser = nil
        parser.whitespace = 0
        var found: XMLTree?
        var fault: XMLFault?
        parser.feed(bytes) { event in
            switch event {
            case .element(let tree) where found == nil:
                found = tree
                return .proceed
            case .failed(let reason):
                fault = reason
            case .element, .opened, .closed:
                fault = .notWellFormed
            }
            return .stop
        }
        if let fault { throw fault }
        guard let found, parser.isAtRest else { throw .incomplete }
        if !parser.isWorn { self.parser = parser }
        return found
    }

    public func read(_ text: String) throws(XMLFault) -> XMLTree {
        var text = text
        let result: Result<XMLTree, XMLFault> = text.withUTF8 { bytes in
            do throws(XMLFault) {
                return .success(try read(UnsafeRawBufferPointer(bytes)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}

extension XMLTree {
    /// The one element that a text is; for many of them a reader is faster.
    public init(parsing text: String, limits: XMLLimits = .stored) throws(XMLFault) {
        self = try XMLDocumentReader(limits: limits).read(text)
    }
}
