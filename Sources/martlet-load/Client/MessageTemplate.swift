/// A chat message ready to be sent again and again: only the last 16 digits of its id change.
struct MessageTemplate {
    private(set) var bytes: [UInt8] = []
    private(set) var numberOffset = 0

    init() {}

    /// About `size` bytes: full addresses as they are given, an id, and a body that fills the rest.
    ///
    /// - Parameter suffix: What is sent in one with each message, not counted in its size.
    init(from sender: String, to recipient: String, size: Int, suffix: String = "") {
        var head = "<message from='\(sender)' to='\(recipient)' type='chat' id='m"
        numberOffset = head.utf8.count
        head += String(repeating: "0", count: Hex.digits) + "'><body>"
        let tail = "</body></message>"
        let room = max(1, size - head.utf8.count - tail.utf8.count)
        let words = "the quick brown fox jumps over the lazy dog and then goes home to write about it all night "
        var body = ""
        while body.utf8.count < room { body += words }
        bytes = Array((head + body.prefix(room) + tail + suffix).utf8)
    }
}
