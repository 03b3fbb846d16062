internal import ModuleKit

/// What the server tells of itself (XEP-0054 §3.3: not only people have a vCard).
struct HostCard: Hashable, Sendable {
    private var name: String
    private var organization: String?
    private var description: String?
    private var url: String?
    private var email: String?
    private var address: String?

    init(from section: inout ConfigSection) {
        name = section.string("name", default: Build.name, "What the server calls itself.")
        organization = section.string("organization", "Who runs it.")
        description = section.string("description", "What it is for.")
        url = section.string("url", "Its page on the web.")
        email = section.string("email", "Where its operators read mail.")
        address = section.string("address", "Where they are reached in XMPP, such as `help@example.org`.")
        if let address, JID(address) == nil { section.error("address", "\(address) is no address") }
    }

    var element: Element {
        var card = Element("vCard", .vcard)
        card.append(text("FN", name))
        if let url { card.append(text("URL", url)) }
        if let organization { card.append(around("ORG", [text("ORGNAME", organization)])) }
        if let email { card.append(around("EMAIL", [Element("INTERNET", .vcard), text("USERID", email)])) }
        if let address { card.append(text("JABBERID", address)) }
        if let description { card.append(text("DESC", description)) }
        return card
    }

    private func text(_ name: String, _ text: String) -> Element { Element(name, .vcard, [:], text) }

    private func around(_ name: String, _ children: [Element]) -> Element {
        var element = Element(name, .vcard)
        for child in children { element.append(child) }
        return element
    }
}
