public import XML

/// How a stanza reaches the wire.
extension Stanza {
    /// Writes the stanza as one of `contentNamespace`, which is omitted where it is also in scope (`inheriting`).
    ///
    /// `recipient` stands in for `to`: a fan-out shares one stanza.
    public func write(
        into output: OutputBuffer, inheriting: Namespace = .empty, contentNamespace: Namespace = .client,
        recipient: JID? = nil
    ) {
        let writer = XMLWriter(output)
        writeStart(writer, inheriting, contentNamespace)
        if let to = recipient ?? to { Self.writeAddress("to", to, writer) }
        writeRest(writer, contentNamespace)
    }

    /// The stanza's bytes, written once for many recipients.
    public func rendered(inheriting: Namespace = .empty, contentNamespace: Namespace = .client) -> RenderedStanza {
        let output = OutputBuffer(capacity: 512)
        let writer = XMLWriter(output)
        writeStart(writer, inheriting, contentNamespace)
        let place = output.count
        writeRest(writer, contentNamespace)
        return RenderedStanza(bytes: output.withBytes { Array($0) }, place: place, to: to)
    }

    /// As it stands in a database: complete, in `jabber:client`.
    public var stored: [UInt8] {
        let output = OutputBuffer(capacity: 512)
        write(into: output, inheriting: .empty, contentNamespace: .client)
        return output.withBytes { Array($0) }
    }

    private func writeStart(_ writer: XMLWriter, _ inheriting: Namespace, _ contentNamespace: Namespace) {
        writer.startTag(of: root, as: contentNamespace, inheriting: inheriting, omitting: [.from, .to])
        if let defaultLanguage { writer.attribute("xml:lang", defaultLanguage) }
        if let from { Self.writeAddress("from", from, writer) }
    }

    private func writeRest(_ writer: XMLWriter, _ contentNamespace: Namespace) {
        guard root.hasContent || !appended.isEmpty else { return writer.output.append("/>") }
        writer.output.append(">")
        writer.content(of: root, as: contentNamespace)
        for element in appended { writer.write(element, inheriting: contentNamespace) }
        writer.endTag(of: root)
    }

    fileprivate static func writeAddress(_ name: StaticString, _ address: JID, _ writer: XMLWriter) {
        writer.beginAttribute(name)
        address.write(escaped: writer.output)
        writer.endAttribute()
    }
}

/// A stanza as bytes, but for its `to`; shared by all who get it.
public final class RenderedStanza: Sendable {
    private let bytes: [UInt8]
    /// Where the `to` attribute goes.
    private let place: Int
    private let to: JID?

    init(bytes: [UInt8], place: Int, to: JID?) {
        (self.bytes, self.place, self.to) = (bytes, place, to)
    }

    public var byteCount: Int { bytes.count }

    /// Writes it for one recipient.
    public func write(recipient: JID? = nil, into output: OutputBuffer) {
        bytes.withUnsafeBytes { bytes in
            output.append(UnsafeRawBufferPointer(rebasing: bytes[..<place]))
            if let to = recipient ?? to { Stanza.writeAddress("to", to, XMLWriter(output)) }
            output.append(UnsafeRawBufferPointer(rebasing: bytes[place...]))
        }
    }
}
