/// How the generator's users connect: the same for all of one run.
struct Settings: Sendable {
    enum Security: String, Sendable {
        case none, starttls, direct
    }

    /// When a client with stream management says what it has received (XEP-0198 §4).
    enum Acknowledgement: String, Sendable {
        /// Once per burst of stanzas, asked or not, and whenever asked.
        case each
        /// Only when the server asks.
        case asked
    }

    var address = "127.0.0.1"
    var port: UInt16 = 5222
    /// The XMPP host of the accounts.
    var host = "localhost"
    var prefix = "u"
    var password = "martlet-load"
    var resource = "load"
    var security = Security.none
    var plain = false
    var streamManagement = false
    var acknowledgement = Acknowledgement.each
    var presence = true
    /// The roster is asked for before that.
    var roster = false
    /// Every so manieth account is used: users are numbered by what is used.
    var stride = 1
    /// There is no XMPP server but a byte relay: connections 2k and 2k + 1 are a pair.
    var relay = false
    /// Source addresses used in turn, from 127.1.0.1 on; 0: as the system chooses.
    var sources = 200
    /// Connections that may be logging in at the same time, per thread.
    var concurrency = 50
    /// Seconds that all logins together, or one step, may take.
    var patience = 120.0

    func user(_ number: Int) -> String { "\(prefix)\(number * stride)" }

    func fullAddress(_ number: Int) -> String { "\(user(number))@\(host)/\(resource)" }
}
