import ModuleKit

/// Reads stored stanzas; one per loop, so that a drain does not make a parser for each row.
///
/// The limits of streams do not count here: what was accepted has to be readable, and its stored form is longer than
/// the one that came (`XMLLimits.stored`).
final class StanzaReader {
    private let reader = XMLDocumentReader()

    /// Nil: the bytes are no stanza, so they are not as this server wrote them.
    func read(_ bytes: [UInt8]) -> Stanza? {
        guard let tree = bytes.withUnsafeBytes({ try? reader.read($0) }), Stanza.kind(of: tree) != nil else {
            return nil
        }
        return Stanza(trusted: tree)
    }
}
