/// What the clients in memory are called: numbers of one width, so that a message is re-addressed in its bytes.
enum ClientNames {
    static let host = "localhost"
    static let resource = "load"
    static let password = "martlet-load"
    static let digits = 7

    static func user(_ number: Int) -> String {
        let text = String(number)
        return "u" + String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }

    static func address(_ number: Int) -> String { "\(user(number))@\(host)/\(resource)" }
}

/// A chat message of full addresses whose sender and recipient are put in again and again.
struct AddressedMessage {
    private(set) var bytes: [UInt8]
    private static let senderOffset = "<message from='u".utf8.count
    private static let recipientOffset =
        senderOffset + ClientNames.digits + "@\(ClientNames.host)/\(ClientNames.resource)' to='u".utf8.count

    init(size: Int) {
        bytes = MessageTemplate(from: ClientNames.address(0), to: ClientNames.address(0), size: size).bytes
    }

    mutating func address(from sender: UInt32, to recipient: UInt32) {
        put(sender, at: Self.senderOffset)
        put(recipient, at: Self.recipientOffset)
    }

    private mutating func put(_ number: UInt32, at offset: Int) {
        var rest = number
        for index in stride(from: offset + ClientNames.digits - 1, through: offset, by: -1) {
            bytes[index] = UInt8(ascii: "0") + UInt8(rest % 10)
            rest /= 10
        }
    }
}
