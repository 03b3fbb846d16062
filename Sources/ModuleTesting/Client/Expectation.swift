public import XMPPCore

/// What a client got is not what the test says.
public struct ExpectationFailure: Error, CustomStringConvertible {
    public let description: String
}

extension TestClient {
    /// Takes the oldest stanza of this kind (message, presence, IQ) out of the inbox and compares it. Call after the
    /// server has settled.
    ///
    /// The order of attributes does not matter; those that are named must be there, with `*` for any value. Elements
    /// below must be the same ones in the same order; `…` as text stands for any content.
    @discardableResult
    public func expect(_ xml: String) throws -> Element {
        guard let wanted = Self.elements(xml).first else {
            throw ExpectationFailure(description: "no stanza in: \(xml)")
        }
        guard let index = inbox.firstIndex(where: { $0.name == wanted.name }) else {
            throw ExpectationFailure(
                description: "\(resource) got no \(wanted.name)\n  wanted: \(xml)\n  has: \(text(of: inbox))"
                    + (errors.isEmpty ? "" : "\n  errors: \(text(of: errors))"))
        }
        let found = inbox.remove(at: index)
        guard found.matches(wanted) else {
            throw ExpectationFailure(
                description: "\(resource) got something else\n  wanted: \(xml)\n  got:    \(text(of: [found]))")
        }
        return found
    }

    /// - Parameter name: `message`, `presence`, `iq`.
    public func expectNo(_ name: String = "message") throws {
        let found = inbox.filter { $0.name == name }
        guard found.isEmpty else {
            throw ExpectationFailure(description: "\(resource) got what it should not: \(text(of: found))")
        }
    }

    /// The bodies of all messages in the inbox, which are taken out.
    public func takeBodies() -> [String] {
        let bodies = inbox.compactMap { $0.name == "message" ? $0.first("body", .client)?.text : nil }
        inbox.removeAll { $0.name == "message" }
        return bodies
    }

    private func text(of elements: [Element]) -> String {
        elements.map { XMLTree($0).description }.joined(separator: "\n       ")
    }
}

extension Element {
    /// True if this is what the pattern describes; see `TestClient.expect`.
    public func matches(_ pattern: Element) -> Bool {
        guard name == pattern.name, namespace == pattern.namespace else { return false }
        for attribute in pattern.attributes {
            let found = attributes.first { $0.name == attribute.name && $0.namespace == attribute.namespace }
            guard let found, attribute.value == "*" || found.value == attribute.value else { return false }
        }
        if pattern.trimmedText == "…" { return true }
        let (ours, wanted) = (elements, pattern.elements)
        return trimmedText == pattern.trimmedText && ours.count == wanted.count
            && zip(ours, wanted).allSatisfy { $0.matches($1) }
    }

    private var trimmedText: String {
        let characters = text.drop { $0.isWhitespace }
        return String(characters.reversed().drop { $0.isWhitespace }.reversed())
    }
}
