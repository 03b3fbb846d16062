/// What libFuzzer made up.
///
/// The bytes up to the first NUL are what a peer might send; those behind it are choices, such as where the bytes are
/// cut and what the server answers. So a seed is plain text, and without choices it is the usual case.
public struct Input {
    public let body: [UInt8]
    private var choices: ArraySlice<UInt8>

    public init(_ start: UnsafePointer<UInt8>?, _ count: Int) {
        let bytes = Self.bytes(start, count)
        if let end = bytes.firstIndex(of: 0) {
            body = Array(bytes[..<end])
            choices = bytes[(end + 1)...]
        } else {
            body = bytes
            choices = []
        }
    }

    public static func bytes(_ start: UnsafePointer<UInt8>?, _ count: Int) -> [UInt8] {
        Array(UnsafeBufferPointer(start: start, count: start == nil ? 0 : count))
    }

    /// The next choice; 0 when there are no more.
    public mutating func choose() -> UInt8 { choices.popFirst() ?? 0 }

    /// All choices that are left.
    public var rest: [UInt8] { Array(choices) }

    /// The body cut where the choices that are left say, over and over; in one piece if there are none.
    public var pieces: [ArraySlice<UInt8>] {
        let sizes = choices.map { max(1, Int($0)) }
        guard !sizes.isEmpty else { return body.isEmpty ? [] : [body[...]] }
        var pieces: [ArraySlice<UInt8>] = []
        var rest = body[...]
        while !rest.isEmpty {
            let size = sizes[pieces.count % sizes.count]
            pieces.append(rest.prefix(size))
            rest = rest.dropFirst(size)
        }
        return pieces
    }
}
