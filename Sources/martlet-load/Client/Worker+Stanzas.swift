import Glibc

/// What arrives on a session, and what a client with stream management says about it.
extension Worker {
    func handle(_ element: Slice, on connection: Connection, at now: UInt64) {
        let bytes = element.bytes
        let isStanza = element.isNamed("message") || element.isNamed("presence") || element.isNamed("iq")
        if isStanza && connection.isManaged {
            connection.received &+= 1
            connection.hasNews = true
        }
        if connection.isManaged && element.isNamed("r") {
            connection.owesAnswer = true
            return
        }
        if connection.step != .done { return negotiate(element, on: connection, at: now) }
        switch bytes[1] {
        case UInt8(ascii: "m") where isStanza:
            workload?.received(element.messageHead(), on: connection, by: self, at: now)
        case UInt8(ascii: "i") where isStanza:
            workload?.answered(element, on: connection, by: self)
        case UInt8(ascii: "p") where isStanza:
            workload?.met(element, on: connection, by: self)
        case UInt8(ascii: "a") where element.isNamed("a"):
            guard let count = element.attribute("h").flatMap({ UInt32($0) }) else { break }
            connection.confirmed = count
            workload?.confirmed(on: connection, by: self)
        case UInt8(ascii: "s") where element.isNamed("stream:error"):
            fail(connection, element.string)
        default: break
        }
    }

    /// Says at the end of a burst what has been received, if it is to be said.
    func answer(_ connection: Connection) {
        guard connection.isManaged else { return }
        let unasked = settings.acknowledgement == .each && connection.hasNews
        guard unasked || connection.owesAnswer else { return }
        connection.owesAnswer = false
        connection.hasNews = false
        connection.append("<a xmlns='urn:xmpp:sm:3' h='\(connection.received)'/>")
    }
}
