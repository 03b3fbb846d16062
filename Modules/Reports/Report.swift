internal import ModuleKit

/// What a user told the operator when blocking somebody (XEP-0377 §4).
struct Report: Equatable {
    let reporter: BareJID
    let reported: JID
    let time: Timestamp
    /// A URN.
    let reason: String
    var text: String
    /// Of the messages that it is about, as the user says.
    var stanzas: [StanzaName]
    /// The user lets the operator pass it on (XEP-0377 §5).
    var mayGoToOrigin: Bool
    var mayGoToOthers: Bool

    /// XEP-0359.
    struct StanzaName: Equatable {
        let by: JID
        let id: String
    }

    private static let longestReason = 255
    private static let longestID = 255
    private static let mostStanzas = 20

    /// Nil: it says no reason, as it must.
    ///
    /// Only ids are kept that the reporter's archive or the reported address can have given.
    ///
    /// - Parameter longest: bytes of the text that are kept.
    init?(
        _ view: ElementView, by reporter: BareJID, about reported: JID, at time: Timestamp, longest: Int
    ) {
        guard let reason = view.attribute("reason"), (1...Self.longestReason).contains(reason.utf8.count) else {
            return nil
        }
        (self.reporter, self.reported, self.time, self.reason) = (reporter, reported, time, reason)
        let texts = view.children.filter { $0.isNamed("text", .reporting) }.map(\.text)
        text = texts.joined(separator: "\n").cut(to: longest)
        let names = view.children.filter { $0.isNamed("stanza-id", .stanzaID) }.compactMap { child -> StanzaName? in
            guard let by = child.attribute("by").flatMap({ JID($0) }), let id = child.attribute("id"),
                (1...Self.longestID).contains(id.utf8.count), by.bare == reporter || by.bare == reported.bare
            else { return nil }
            return StanzaName(by: by, id: id)
        }
        stanzas = Array(names.prefix(Self.mostStanzas))
        mayGoToOrigin = view.first("report-origin", .reporting) != nil
        mayGoToOthers = view.first("third-party", .reporting) != nil
    }

    // MARK: Stored

    /// As in the request, with who, whom and when beside the reason.
    var stored: [UInt8] {
        var element = Element(
            "report", .reporting,
            [
                "reason": reason, "reporter": reporter.description, "reported": reported.description,
                "time": String(time.milliseconds),
            ])
        if !text.isEmpty { element.append(Element("text", .reporting, [:], text)) }
        for name in stanzas {
            element.append(Element("stanza-id", .stanzaID, ["by": name.by.description, "id": name.id]))
        }
        if mayGoToOrigin { element.append(Element("report-origin", .reporting)) }
        if mayGoToOthers { element.append(Element("third-party", .reporting)) }
        return Array(element.description.utf8)
    }

    /// Nil: not what `stored` makes.
    init?(stored bytes: [UInt8]) {
        guard let tree = try? XMLTree(parsing: String(decoding: bytes, as: UTF8.self)),
            let reporter = tree.root.attribute("reporter").flatMap({ BareJID($0) }),
            let reported = tree.root.attribute("reported").flatMap({ JID($0) }),
            let time = tree.root.attribute("time").flatMap({ Int64($0) })
        else { return nil }
        self.init(
            tree.root, by: reporter, about: reported, at: Timestamp(milliseconds: time), longest: bytes.count)
    }
}

extension String {
    /// At most so many bytes of it, and no half character.
    fileprivate func cut(to most: Int) -> String {
        guard utf8.count > most else { return self }
        var bytes = Array(utf8.prefix(most))
        while let last = bytes.last, last & 0xC0 == 0x80 { bytes.removeLast() }
        if let last = bytes.last, last & 0x80 != 0 { bytes.removeLast() }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension Namespace {
    static let reporting: Namespace = "urn:xmpp:reporting:1"
}
