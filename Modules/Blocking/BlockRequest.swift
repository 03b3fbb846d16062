internal import ModuleKit

/// What a client asks of its blocklist (XEP-0191 §3), checked.
struct BlockRequest {
    let addresses: [JID]
    let notes: [BlockNote]

    /// - Throws: `bad-request` without items, `jid-malformed`, `not-allowed` for the account itself.
    init(
        _ payload: ElementView, of account: any Account, read: ((ElementView, JID, any Account) -> BlockNote?)? = nil
    ) throws(StanzaError) {
        var addresses: [JID] = []
        var notes: [BlockNote] = []
        for item in payload.children where item.isNamed("item", .blocking) {
            guard let text = item.attribute("jid") else { throw .badRequest }
            guard let address = JID(text) else { throw .jidMalformed }
            // XEP-0016 §2.1: nobody is kept from himself.
            guard address.bare != account.address else { throw .notAllowed.saying("this is your own address") }
            addresses.append(address)
            if let note = read?(item, address, account) { notes.append(note) }
        }
        guard !addresses.isEmpty else { throw .badRequest }
        self.addresses = addresses
        self.notes = notes
    }

    static func element(_ name: String, _ addresses: [JID]) -> Element {
        var element = Element(name, .blocking)
        for address in addresses { element.append(Element("item", .blocking, ["jid": address.description])) }
        return element
    }
}
