internal import XMPPCore

/// The text of `<auth/>`, `<response/>`, `<challenge/>` and `<success/>` (RFC 6120 §6.4).
enum SASLPayload: Hashable {
    /// No text: no data at all in `<auth/>`, empty data elsewhere.
    case none
    case data([UInt8])
    case malformed

    init(_ text: String) {
        switch text {
        case "": self = .none
        // RFC 6120 §6.4.2: data of no bytes.
        case "=": self = .data([])
        default:
            if let data = Base64.decode(text) {
                self = .data(data)
            } else {
                self = .malformed
            }
        }
    }

    static func element(_ name: String, _ data: [UInt8]) -> Element {
        var element = Element(name, .sasl)
        if !data.isEmpty { element.appendText(Base64.encode(data)) }
        return element
    }
}
