/// Text as code points, the form in which the Unicode rules are written.
enum CodePoints {
    /// Strict UTF-8; nil: not UTF-8, or a NUL.
    static func decode(_ bytes: UnsafeBufferPointer<UInt8>) -> [UInt32]? {
        var points: [UInt32] = []
        points.reserveCapacity(bytes.count)
        var decoder = UTF8()
        var iterator = bytes.makeIterator()
        while true {
            switch decoder.decode(&iterator) {
            case .scalarValue(let scalar):
                guard scalar.value != 0 else { return nil }
                points.append(scalar.value)
            case .emptyInput: return points
            case .error: return nil
            }
        }
    }

    /// The string; nil: empty, more than `limit` bytes of UTF-8, or not Unicode scalars.
    static func encode(_ points: [UInt32], limit: Int) -> String? {
        guard !points.isEmpty else { return nil }
        var string = String.UnicodeScalarView()
        var count = 0
        for point in points {
            guard let scalar = Unicode.Scalar(point) else { return nil }
            count += UTF8.width(scalar)
            guard count <= limit else { return nil }
            string.append(scalar)
        }
        return String(string)
    }
}
