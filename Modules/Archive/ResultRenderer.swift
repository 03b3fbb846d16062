internal import ModuleKit

/// Makes the stanzas that carry archived messages (XEP-0313 §4.2). One per loop.
///
/// The stored bytes are put into the bytes around them and read once, so that no element is built for each of them.
final class ResultRenderer {
    private let output = OutputBuffer(capacity: 1024)
    private let reader = XMLDocumentReader()

    func results(of archive: BareJID, queryID: String?) -> Results {
        Results(self, archive, queryID)
    }

    /// The results of one query.
    struct Results {
        private let renderer: ResultRenderer
        /// Everything in front of the id of the message.
        private let start: [UInt8]
        /// What stands in a message before its id in this archive.
        private let mark: [UInt8]

        fileprivate init(_ renderer: ResultRenderer, _ archive: BareJID, _ queryID: String?) {
            self.renderer = renderer
            start = renderer.bytes { writer in
                writer.output.append("<message xmlns='jabber:client'><result xmlns='urn:xmpp:mam:2'")
                if let queryID { writer.attribute("queryid", queryID) }
                writer.output.append(" id='")
            }
            mark = renderer.bytes { writer in
                writer.output.append("<stanza-id xmlns='urn:xmpp:sid:0'")
                writer.attribute("by", archive.description)
                writer.output.append(" id='")
            }
        }

        /// Nil: what is stored is no message. Without addresses.
        func result(_ row: ArchiveRow) -> Stanza? {
            renderer.result(row, start, mark)
        }
    }

    private static let endTag = Array("</message>".utf8)

    private func result(_ row: ArchiveRow, _ start: [UInt8], _ mark: [UInt8]) -> Stanza? {
        let id = String(row.id)
        output.removeAll()
        output.append(start)
        output.append(raw: id)
        output.append("'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='")
        output.append(raw: row.stamp.description)
        output.append("'/>")
        // Of what was refused only the place is kept (XEP-0313 §3.2).
        if row.stanza.suffix(Self.endTag.count).elementsEqual(Self.endTag) {
            output.append(Array(row.stanza.dropLast(Self.endTag.count)))
            output.append(mark)
            output.append(raw: id)
            output.append("'/></message>")
        } else {
            output.append(row.stanza)
        }
        output.append("</forwarded></result></message>")
        guard let tree = output.withBytes({ try? reader.read($0) }) else { return nil }
        return Stanza(trusted: tree).asNotice(.urgent)
    }

    private func bytes(_ write: (XMLWriter) -> Void) -> [UInt8] {
        output.removeAll()
        write(XMLWriter(output))
        return output.withBytes { Array($0) }
    }
}
