import ModuleKit

/// The parser of all clients of one loop: trees as the server's own parser makes them of a connection's bytes.
final class TreeSource {
    private let parser = XMLPushParser()

    init(host: String) {
        let header =
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='\(host)' "
            + "version='1.0'>"
        parser.feed(Array(header.utf8)) { _ in .proceed }
    }

    /// The one element that these bytes are; nil: they are something else.
    func tree(_ bytes: [UInt8]) -> XMLTree? {
        var tree: XMLTree?
        parser.feed(bytes) { event in
            if case .element(let element) = event { tree = element }
            return .proceed
        }
        return tree
    }
}
