internal import ModuleKit

/// Which names and passwords an account may have that a client makes.
struct RegistrationRules: Hashable, Sendable {
    enum Letters: String, CaseIterable, Hashable, Sendable {
        /// ASCII only.
        case ascii
        /// Of one script, so that no name looks like one of another script by a few letters.
        case oneScript = "one_script"
        case any
    }

    var letters: Letters
    var reserved: Set<String>
    var shortestPassword: Int

    /// RFC 2142 §4 to §7, and who else seems to speak for the server.
    private static let usual = [
        "abuse", "admin", "administrator", "hostmaster", "info", "martlet", "noc", "postmaster", "root", "sales",
        "security", "server", "service", "support", "system", "webmaster", "xmpp",
    ]

    init(from section: inout ConfigSection) {
        letters = section.choice(
            "letters", default: .oneScript,
            "Which names may be: `one_script` refuses those that mix writing systems, to look like another name.")
        let names = section.strings("reserved", default: Self.usual, "Names that only the operator gives away.")
        var prepared: Set<String> = []
        for name in names {
            if let name = JID.prepared(local: name) {
                prepared.insert(name)
            } else {
                section.error("reserved", "\(name) is no name that an account could have")
            }
        }
        reserved = prepared
        shortestPassword = section.int("shortest", default: 8, in: 1...128, "Fewest characters of a password.")
    }

    /// The address of the account that somebody wants to have.
    ///
    /// - Throws: `not-acceptable` for what is no name or is kept for the operator.
    func address(_ name: String, at host: String) throws(StanzaError) -> BareJID {
        guard let address = BareJID(local: name, domain: host), !address.local.isEmpty else {
            throw .notAcceptable.saying("no account can have this name")
        }
        guard !reserved.contains(address.local) else { throw .notAcceptable.saying("this name is reserved") }
        let isAllowed =
            switch NameScripts(of: address.local) {
            case .ascii: true
            case .one: letters != .ascii
            case .several: letters == .any
            }
        guard isAllowed else { throw .notAcceptable.saying("this name mixes letters that are not for one name") }
        return address
    }

    /// - Throws: `not-acceptable` for one that is too short, or is the account's own name or address.
    func check(_ password: String, of account: BareJID) throws(StanzaError) {
        guard password.unicodeScalars.count >= shortestPassword else {
            throw .notAcceptable.saying("the password needs at least \(shortestPassword) characters")
        }
        guard !account.isSpelled(by: password) else {
            throw .notAcceptable.saying("the password must not be the name of the account")
        }
    }
}
