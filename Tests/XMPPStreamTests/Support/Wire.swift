import Testing
import XMPPCore
import XMPPTransport

/// The two ways in which a stream becomes bytes.
enum FramingKind: CaseIterable, Sendable {
    /// RFC 6120.
    case stream
    /// RFC 7395.
    case messages

    func make() -> any Framing {
        switch self {
        case .stream: TCPStreamFraming(pool: ParserPool(), limits: .stored)
        case .messages: MessageFraming(pool: ParserPool(), limits: .stored)
        }
    }
}

/// One direction of a connection: what is written at one end is bytes, and read again at the other.
final class Wire {
    private let writer: any Framing
    private let reader: any Framing
    /// A header was carried, and nothing has ended the stream since.
    private(set) var isOpen = false

    init(_ kind: FramingKind) {
        (writer, reader) = (kind.make(), kind.make())
    }

    func restart() {
        isOpen = false
        writer.restart()
        reader.restart()
    }

    func carry(_ header: StreamHeader) -> Result<StreamHeader, StreamError> {
        switch carry({ writer.writeOpen(header, into: $0) }) {
        case .opened(let header):
            isOpen = true
            return .success(header)
        case .failed(let error): return .failure(error)
        case let other:
            Issue.record("a header became \(String(describing: other))")
            return .success(header)
        }
    }

    func carry(_ element: Element) -> Result<XMLTree, StreamError> {
        switch carry({ writer.write(element, into: $0) }) {
        case .element(let tree): return .success(tree)
        case .failed(let error): return .failure(error)
        case let other:
            Issue.record("\(element.name) became \(String(describing: other))")
            return .success(XMLTree(element))
        }
    }

    /// The only event that comes of these bytes; as a stream they come in small pieces.
    private func carry(_ write: (OutputBuffer) -> Void) -> StreamEvent? {
        let output = OutputBuffer()
        write(output)
        let bytes = output.withBytes { Array($0) }
        let piece = reader.isMessageBased ? bytes.count : 13
        var events: [StreamEvent] = []
        for start in stride(from: 0, to: bytes.count, by: piece) {
            reader.feed(Array(bytes[start..<min(start + piece, bytes.count)])) { event in
                events.append(event)
                return .proceed
            }
        }
        reader.rest()
        if case .failed = events.last { isOpen = false }
        if events.count > 1 { Issue.record("one thing became \(events.count)") }
        return events.last
    }
}

extension FramingKind {
    /// The element as the other end of an open stream reads it.
    func carried(_ element: Element) -> ElementView {
        let wire = Wire(self)
        guard case .success = wire.carry(StreamHeader(to: "example.net", version: "1.0")),
            case .success(let tree) = wire.carry(element)
        else {
            Issue.record("\(element.name) did not get through")
            return XMLTree(element).root
        }
        return tree.root
    }
}
