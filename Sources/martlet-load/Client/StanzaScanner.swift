import CLoadShims
import Glibc

/// Finds where a stream's root and its children begin and end; it checks nothing else.
///
/// Quotes, comments, CDATA and processing instructions are stepped over as units, so no `>` in them is taken for an
/// end. The bytes not yet consumed must be offered again, with more behind them.
struct StanzaScanner {
    enum Item: Equatable {
        /// The stream's start tag.
        case opened(Range<Int>)
        /// One child of the stream, whole.
        case element(Range<Int>)
        /// The stream's end tag.
        case closed
        /// Nothing more in these bytes; from `consumed` on they are to be kept.
        case more
    }

    private var depth: Int
    private var position = 0
    private var start = 0
    /// Bytes at the front that were handed out or passed over.
    private(set) var consumed = 0

    /// - Parameter opened: there is no stream around the elements (the byte relay), so they come from the start.
    init(opened: Bool = false) {
        depth = opened ? 1 : 0
    }

    /// The caller has removed the consumed bytes.
    mutating func rebase() {
        position -= consumed
        start -= consumed
        consumed = 0
    }

    mutating func next(in bytes: UnsafeBufferPointer<UInt8>) -> Item {
        guard let base = bytes.baseAddress else { return .more }
        while true {
            guard let tag = find(UInt8(ascii: "<"), in: base, from: position, to: bytes.count) else {
                position = bytes.count
                if depth <= 1 { consumed = position }
                return .more
            }
            position = tag
            if depth <= 1 {
                start = tag
                consumed = tag
            }
            guard let end = Self.end(ofTag: tag, in: base, count: bytes.count) else { return .more }
            position = end
            switch base[tag + 1] {
            case UInt8(ascii: "?"), UInt8(ascii: "!"):
                if depth <= 1 { consumed = end }
            case UInt8(ascii: "/"):
                depth -= 1
                if depth <= 0 {
                    consumed = end
                    return .closed
                }
                if depth == 1 {
                    consumed = end
                    return .element(start..<end)
                }
            default:
                if base[end - 2] == UInt8(ascii: "/") {
                    if depth == 1 {
                        consumed = end
                        return .element(start..<end)
                    }
                } else {
                    depth += 1
                    if depth == 1 {
                        consumed = end
                        return .opened(start..<end)
                    }
                }
            }
        }
    }

    /// Behind the `>` that ends what begins at `tag`; nil: not there yet.
    private static func end(ofTag tag: Int, in base: UnsafePointer<UInt8>, count: Int) -> Int? {
        guard tag + 1 < count else { return nil }
        switch base[tag + 1] {
        case UInt8(ascii: "?"):
            return end("?>", in: base, from: tag, count: count)
        case UInt8(ascii: "!"):
            guard tag + 2 < count else { return nil }
            let isSection = base[tag + 2] == UInt8(ascii: "[")
            return end(isSection ? "]]>" : "-->", in: base, from: tag, count: count)
        default:
            var index = tag + 1
            while index < count {
                switch base[index] {
                case UInt8(ascii: ">"):
                    return index + 1
                case UInt8(ascii: "'"), UInt8(ascii: "\""):
                    guard let hit = memchr(base + index + 1, Int32(base[index]), count - index - 1) else { return nil }
                    index = UnsafeRawPointer(hit) - UnsafeRawPointer(base) + 1
                default:
                    index += 1
                }
            }
            return nil
        }
    }

    private static func end(_ mark: StaticString, in base: UnsafePointer<UInt8>, from: Int, count: Int) -> Int? {
        let place = load_find(base + from, count - from, mark.utf8Start, mark.utf8CodeUnitCount)
        return place < 0 ? nil : from + place + mark.utf8CodeUnitCount
    }

    private func find(_ byte: UInt8, in base: UnsafePointer<UInt8>, from: Int, to: Int) -> Int? {
        guard from < to, let hit = memchr(base + from, Int32(byte), to - from) else { return nil }
        return UnsafeRawPointer(hit) - UnsafeRawPointer(base)
    }
}
