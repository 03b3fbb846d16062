import ModuleKit

/// What only a server may say of a stanza: since when it has waited (XEP-0203 §4) and which id it has in an archive
/// (XEP-0359 §6). What a client says in the name of one of our hosts or accounts is taken out, all of it: readers, and
/// this server itself, take it for ours.
extension Stanza {
    /// A delay may be that of a client, under its own address; an id of an archive is a host's or an account's.
    private static let marks: [(name: String, namespace: Namespace, attribute: String, ofAccounts: Bool)] = [
        ("delay", .delay, "from", false), ("stanza-id", .stanzaID, "by", true),
    ]

    /// The bits of the namespaces that marks are in.
    private static let markBits = Namespace.delay.bit | Namespace.stanzaID.bit

    /// Costs one AND where there is nothing of the kind.
    func withoutMarks(of world: World) -> Stanza {
        guard namespaces & Self.markBits != 0 else { return self }
        var copy = element
        let count = copy.children.count
        copy.removeElements { child in
            Self.marks.contains { mark in
                guard child.isNamed(mark.name, mark.namespace),
                    let author = child[attribute: mark.attribute].flatMap({ JID($0) })
                else { return false }
                return (mark.ofAccounts ? author.isBare : author.local.isEmpty) && world.isOurs(author.domain)
            }
        }
        guard copy.children.count != count else { return self }
        return Stanza(copy).with(from: from, to: to)
    }
}

extension World {
    fileprivate func isOurs(_ domain: String) -> Bool { hosts[domain] != nil || domains[domain] != nil }
}
